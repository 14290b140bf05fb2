//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use http::{HeaderName, HeaderValue};

use crate::arrivals::{Arrivals, Spread};
use crate::drive::Pace;
use crate::outcome::Kind;
use crate::target::Target;

/// Puts load on a Polylogue deployment, or on any OpenAI-compatible server, and measures what comes of it.
#[derive(Parser)]
#[command(name = "polylogue-load", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Turns of a Polylogue deployment: one answer, streams, sockets.
    Chat(ChatOptions),
    /// Requests straight to a server that speaks the OpenAI protocol: the baseline, or a peer.
    Direct(DirectOptions),
    /// A bare and fast model server whose answer is always the same, to be measured with.
    Upstream(UpstreamOptions),
    /// Draws diagrams, which it reads as JSON from standard input.
    Plot(PlotOptions),
}

/// Where a picture goes.
#[derive(Args)]
pub struct PlotOptions {
    /// The file.
    #[arg(long, value_name = "FILE")]
    pub svg: PathBuf,
}

/// What is asked of a deployment.
#[derive(Args)]
pub struct ChatOptions {
    /// Where it is, for example http://127.0.0.1:8080. Several: users are spread over them, and a stream that is
    /// followed or resumed goes to the next one.
    #[arg(long = "url", required = true, value_name = "URL")]
    pub urls: Vec<Target>,
    /// An API key or a JWT.
    #[arg(long, env = "POLYLOGUE_LOAD_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// How turns are asked for, with weights: json, sse, ws, follow (POST /turns, then its events).
    #[arg(long, value_name = "KIND[:WEIGHT],…", value_delimiter = ',', default_value = "json:1,sse:1,ws:1", value_parser = weighted)]
    pub mix: Vec<(Kind, u32)>,
    /// Who answers: ids, or a number (so many of those the service has). Without it, routing decides.
    #[arg(long, value_name = "ID,…|NUMBER", value_delimiter = ',')]
    pub personas: Vec<String>,
    /// The length of a message.
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=32_768))]
    pub message_bytes: u32,
    /// Turns before a user begins another conversation: how long the history grows.
    #[arg(long, value_name = "TURNS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub turns_per_conversation: u32,
    /// The share of streams (0 to 1) that are dropped midway and resumed after the last event that came.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub reconnects: f64,
    /// How often a stream that broke by itself is resumed, after pauses that double from 250 ms.
    #[arg(long, value_name = "TIMES", default_value_t = 5)]
    pub resume_attempts: u32,
    /// Sockets that are opened first, kept and say nothing.
    #[arg(long, value_name = "SOCKETS", default_value_t = 0)]
    pub idle_sockets: u64,
    /// How hard, how long, and where results go.
    #[command(flatten)]
    pub load: LoadOptions,
}

/// What is asked of a model server.
#[derive(Args)]
pub struct DirectOptions {
    /// Its base address, as a client of the protocol takes it, for example http://127.0.0.1:4000/v1.
    #[arg(long = "url", required = true, value_name = "URL")]
    pub urls: Vec<Target>,
    /// The model's name.
    #[arg(long, default_value = "fixed")]
    pub model: String,
    /// A key.
    #[arg(long, env = "POLYLOGUE_LOAD_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// One more header of every request, for a server that is told by headers what to do. May be repeated.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The answer comes as a stream.
    #[arg(long)]
    pub stream: bool,
    /// The length of a message.
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=32_768))]
    pub message_bytes: u32,
    /// The longest answer.
    #[arg(long, value_name = "TOKENS")]
    pub max_tokens: Option<u32>,
    /// How hard, how long, and where results go.
    #[command(flatten)]
    pub load: LoadOptions,
}

/// How hard, how long, and where results go.
#[derive(Args)]
pub struct LoadOptions {
    /// A closed loop: so many users, each of which waits for its answer before it asks again.
    #[arg(long, value_name = "USERS", conflicts_with = "rate", default_value_t = 8)]
    pub concurrency: usize,
    /// An open loop: so many turns are due each second, whatever the answers do; times count from when a turn was due.
    #[arg(long, value_name = "PER SECOND", value_parser = rate)]
    pub rate: Option<f64>,
    /// How arrivals of an open loop are spread.
    #[arg(long, value_enum, default_value = "poisson", requires = "rate")]
    pub arrivals: Spread,
    /// Arrivals of an open loop that may wait in the generator; more are dropped and counted.
    #[arg(long, value_name = "TURNS", default_value_t = 10_000, requires = "rate")]
    pub max_waiting: usize,
    /// Turns of an open loop at once, each with a connection; more wait.
    #[arg(long, value_name = "TURNS", default_value_t = 4_096, requires = "rate", value_parser = places)]
    pub max_in_flight: usize,
    /// The pause of a user of a closed loop between an answer and the next question.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration, conflicts_with = "rate")]
    pub think_time: Duration,
    /// How long is measured.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub duration: Duration,
    /// How long load is put on before that, without being counted.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    pub warm_up: Duration,
    /// After how long a turn is given up.
    #[arg(long, value_name = "TIME", default_value = "130s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// How long to wait at the end for what still runs.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub settle: Duration,
    /// The same seed asks the same things at the same times.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Threads of the generator. One is cheapest, and enough for tens of thousands of requests a second.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: u16,
    /// Addresses of this machine to connect from, in rotation: one has some 28,000 ports for each target.
    #[arg(long = "source-address", value_name = "ADDRESS", value_delimiter = ',')]
    pub source_addresses: Vec<IpAddr>,
    /// Processes of the service on this machine (Linux): their memory, CPU time and descriptors are measured too.
    #[arg(long = "service-pid", value_name = "PID", value_delimiter = ',')]
    pub service_pids: Vec<u32>,
    /// Where the results go as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Where a plot of the run goes.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// No line each second.
    #[arg(long)]
    pub quiet: bool,
    /// Exit code 1 if anything failed or an event was lost, doubled or wrong. A refusal (429, 503) is no failure.
    #[arg(long)]
    pub strict: bool,
}

impl LoadOptions {
    /// When users ask.
    pub fn pace(&self) -> Pace {
        match self.rate {
            Some(rate) => Pace::Open {
                arrivals: Arrivals::new(rate, self.arrivals, self.seed),
                max_waiting: self.max_waiting,
                max_in_flight: self.max_in_flight,
            },
            None => Pace::Closed { users: self.concurrency, think_time: self.think_time },
        }
    }
}

/// What the model server answers.
#[derive(Args, Clone)]
pub struct UpstreamOptions {
    /// Where it listens; port 0 takes a free one. The address is the first line on standard output.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Tokens of the answer.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub tokens: u32,
    /// Bytes of a token.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(2..=65_536))]
    pub token_bytes: u32,
    /// How long the first token takes.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub first_token: Duration,
    /// How long every further one takes. Without any, all tokens go out at once, each as a chunk of its own.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub gap: Duration,
    /// Its threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: u16,
}

fn weighted(text: &str) -> Result<(Kind, u32), String> {
    let (name, weight) = text.split_once(':').unwrap_or((text, "1"));
    let kind = match name {
        "json" => Kind::Json,
        "sse" => Kind::Sse,
        "ws" => Kind::Ws,
        "follow" => Kind::Follow,
        _ => return Err("must be json, sse, ws or follow".to_owned()),
    };
    match weight.parse() {
        Ok(weight @ 1..=1_000_000) => Ok((kind, weight)),
        _ => Err("a weight is a number from 1 to 1000000".to_owned()),
    }
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    let (name, value) = text.split_once(':').ok_or("must be NAME: VALUE")?;
    let name = name.trim().parse().map_err(|_| "the name is not one of a header")?;
    let value = value.trim().parse().map_err(|_| "the value is not one of a header")?;
    Ok((name, value))
}

fn share(text: &str) -> Result<f64, &'static str> {
    let share: f64 = text.parse().map_err(|_| "must be a number")?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("must be from 0 to 1") }
}

fn rate(text: &str) -> Result<f64, &'static str> {
    let rate: f64 = text.parse().map_err(|_| "must be a number")?;
    if (0.001..=1e6).contains(&rate) { Ok(rate) } else { Err("must be from 0.001 to 1000000") }
}

fn places(text: &str) -> Result<usize, &'static str> {
    match text.parse() {
        Ok(places @ 1..=1_000_000) => Ok(places),
        _ => Err("must be a number from 1 to 1000000"),
    }
}
