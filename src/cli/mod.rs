//! The command line: what it may say, and the commands that only print or ask.

mod ask;
mod healthcheck;
mod keys;
mod print;
mod secured;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use keys::NewKey;

use crate::app;
use crate::config::{Effective, Flag, Sources, reference_markdown};
use crate::exit::Failure;
use crate::telemetry::metrics::catalogue;

/// A chat service in which several LLM personas answer one user in parallel.
#[derive(Parser)]
#[command(version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Args)]
struct Settings {
    /// A TOML file with settings; `polylogue config --reference` explains them all.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the API listens (for simulate-llm: where the simulator does).
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Where probes and metrics listen.
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    management_listen: Option<String>,
    /// Any setting, for example --set llm.timeout=30s.
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
}

#[derive(Clone, Subcommand)]
enum Command {
    /// Runs the service; what happens without a command.
    Serve,
    /// Prints the settings in force, secrets hidden.
    Config {
        /// Prints what can be set instead, as Markdown.
        #[arg(long)]
        reference: bool,
    },
    /// Checks the settings without starting.
    CheckConfig,
    /// Prints the API's description.
    Openapi {
        /// The version of OpenAPI.
        #[arg(long, value_enum, default_value = "3.1")]
        version: OpenApiVersion,
        /// Prints the socket's AsyncAPI description instead.
        #[arg(long, conflicts_with = "version")]
        asyncapi: bool,
    },
    /// Prints a turn's flow as a Mermaid diagram.
    Graph,
    /// Prints every metric there is, as Markdown.
    Metrics,
    /// Asks the running service whether it is alive: exit code 0 if it is, 1 if not.
    Healthcheck {
        /// What to ask; /livez of the management port, if absent.
        #[arg(long)]
        url: Option<String>,
    },
    /// Asks a running service one question and prints the turn: exit code 0 if it was completed, 1 if not.
    Ask(Question),
    /// Runs the built-in stand-in for a model alone.
    SimulateLlm,
    /// Makes API keys.
    #[command(subcommand)]
    Keys(Keys),
}

/// What can be done with API keys. Revoking one is removing its entry from the file.
#[derive(Clone, Subcommand)]
enum Keys {
    /// Makes a key: prints it, this once, and the entry for the file that auth.keys_file names.
    New(NewKey),
}

#[derive(Clone, Copy, ValueEnum)]
enum OpenApiVersion {
    #[value(name = "3.0")]
    ThreeZero,
    #[value(name = "3.1")]
    ThreeOne,
}

/// What `main` is left to do.
pub enum Task {
    /// Run the service.
    Serve(Box<Effective>),
    /// Run the simulator.
    SimulateLlm(Box<Effective>),
    /// Ask the service whether it is alive.
    Healthcheck(Probe),
    /// Ask a running service one question.
    Ask(Question),
    /// Nothing: it was done at once.
    Done,
}

impl Cli {
    /// Reads the arguments; help, the version and what is wrong with them are printed here.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Self>, Failure> {
        match Self::try_parse_from(arguments) {
            Ok(cli) => Ok(Some(cli)),
            Err(error) => {
                // Whoever closed the output does not want to read it.
                let _ = error.print();
                if error.use_stderr() { Err(Failure::Flags) } else { Ok(None) }
            }
        }
    }

    /// Does what needs no runtime, and says what is left; `environment` is the process' own.
    pub fn begin(self, environment: Vec<(OsString, OsString)>) -> Result<Task, Failure> {
        let command = self.command.clone().unwrap_or(Command::Serve);
        let sources = self.sources(environment);
        match command {
            Command::Serve => Ok(Task::Serve(Box::new(sources.load()?))),
            Command::SimulateLlm => Ok(Task::SimulateLlm(Box::new(sources.load()?))),
            Command::Config { reference: true } => print::text(&reference_markdown()),
            Command::Config { reference: false } => print::text(&sources.load()?.to_toml()),
            Command::CheckConfig => print::checked(&sources.load()?),
            Command::Openapi { asyncapi: true, .. } => print::text(&app::asyncapi()),
            Command::Openapi { version, .. } => {
                print::json(&app::openapi(matches!(version, OpenApiVersion::ThreeZero)))
            }
            Command::Graph => print::text(&app::graph()?),
            Command::Metrics => print::text(&catalogue::markdown()),
            Command::Keys(Keys::New(key)) => key.print(),
            Command::Ask(question) => Ok(Task::Ask(question)),
            Command::Healthcheck { url: Some(url) } => Ok(Task::Healthcheck(Probe::of(url))),
            Command::Healthcheck { url: None } => {
                Probe::own(&sources.load()?.config.server).map(Task::Healthcheck)
            }
        }
    }

    fn sources(self, environment: Vec<(OsString, OsString)>) -> Sources {
        let listen = match self.command {
            Some(Command::SimulateLlm) => "simulator.listen",
            _ => "server.listen",
        };
        let given = self.settings.set.into_iter().map(|(key, value)| Flag { name: "--set", key, value });
        let named = [
            ("--listen", listen, self.settings.listen),
            ("--management-listen", "server.management_listen", self.settings.management_listen),
        ];
        let named = named
            .into_iter()
            .filter_map(|(name, key, value)| Some(Flag { name, key: key.to_owned(), value: value? }));
        Sources { file: self.settings.config, environment, flags: given.chain(named).collect() }
    }
}

pub use ask::{Question, ask};
pub use healthcheck::Probe;

fn key_and_value(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("must be written KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}
