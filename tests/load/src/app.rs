//! What becomes of the command line.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use http::{HeaderValue, Method};
use serde::Deserialize;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep_until;

use crate::chat::Chat;
use crate::cli::{ChatOptions, Cli, Command, DirectOptions, LoadOptions};
use crate::dial::Dialer;
use crate::direct::Direct;
use crate::drive::{Run, Work};
use crate::http_client::{Ask, HttpClient, whole};
use crate::idle::IdleSockets;
use crate::measure::{Measures, Window};
use crate::process::Watched;
use crate::report::Report;
use crate::target::Target;
use crate::{plot, upstream};

/// Memory is looked at so long after the last idle socket was opened.
const SOCKETS_SETTLE: Duration = Duration::from_secs(1);

/// Does what was said.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Chat(options) => runtime(options.load.threads)?.block_on(chat(options)),
        Command::Direct(options) => runtime(options.load.threads)?.block_on(direct(options)),
        Command::Plot(options) => {
            let diagrams: Vec<plot::Diagram> =
                serde_json::from_reader(std::io::stdin().lock()).context("standard input has no diagrams")?;
            plot::write(&options.svg, &diagrams)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Upstream(options) => {
            runtime(options.threads)?.block_on(upstream::serve(options))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn runtime(threads: u16) -> anyhow::Result<Runtime> {
    let mut builder = if threads == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.worker_threads(usize::from(threads)).enable_all().build().context("no runtime")
}

async fn chat(options: ChatOptions) -> anyhow::Result<ExitCode> {
    let load = &options.load;
    let dialer = Dialer::new(&load.source_addresses, &options.urls)?;
    let token = options.token.as_deref().map(bearer).transpose()?;
    let targets: Arc<[Target]> = options.urls.into();
    let personas = personas(options.personas, &dialer, &targets[0], token.clone()).await?;
    let watched = load.service_pids.iter().map(|pid| Watched::begin(*pid)).collect();
    let idle = if options.idle_sockets > 0 {
        let idle = IdleSockets::open(options.idle_sockets, &dialer, &targets, token.as_ref()).await;
        tokio::time::sleep(SOCKETS_SETTLE).await;
        Some(idle)
    } else {
        None
    };
    let work = Chat {
        dialer,
        targets,
        token,
        mix: options.mix.into(),
        personas: personas.into(),
        message_bytes: options.message_bytes as usize,
        turns_per_conversation: options.turns_per_conversation,
        reconnects: options.reconnects,
        resume_attempts: options.resume_attempts,
        seed: load.seed,
        run: rand::random(),
    };
    measured("chat", work, load, watched, idle).await
}

async fn direct(options: DirectOptions) -> anyhow::Result<ExitCode> {
    let load = &options.load;
    let watched = load.service_pids.iter().map(|pid| Watched::begin(*pid)).collect();
    let work = Direct {
        dialer: Dialer::new(&load.source_addresses, &options.urls)?,
        targets: options.urls.into(),
        token: options.api_key.as_deref().map(bearer).transpose()?,
        headers: options.headers.into_iter().collect(),
        model: options.model,
        is_stream: options.stream,
        message_bytes: options.message_bytes as usize,
        max_tokens: options.max_tokens,
        seed: load.seed,
    };
    measured("direct", work, load, watched, None).await
}

fn bearer(token: &str) -> anyhow::Result<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).context("not a token")?;
    value.set_sensitive(true);
    Ok(value)
}

/// The personas that were asked for by id, or the first of those the service has.
async fn personas(
    asked: Vec<String>,
    dialer: &Dialer,
    target: &Target,
    token: Option<HeaderValue>,
) -> anyhow::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Listed {
        data: Vec<Persona>,
    }
    #[derive(Deserialize)]
    struct Persona {
        id: String,
    }

    let [number] = &asked[..] else { return Ok(asked) };
    let Ok(number) = number.parse::<usize>() else { return Ok(asked) };
    let mut client = HttpClient::new(dialer.clone(), target.clone(), token);
    let ask = Ask {
        method: Method::GET,
        path: "/api/v1/personas",
        body: bytes::Bytes::new(),
        accept: "application/json",
        header: None,
    };
    let said = |fault: crate::fault::Fault| {
        anyhow::anyhow!("the service does not name its personas: {}", fault.kind)
    };
    let body = whole(client.ask(ask).await.map_err(said)?.into_body()).await.map_err(said)?;
    let listed: Listed = serde_json::from_slice(&body).context("the personas cannot be read")?;
    let has = listed.data.len();
    anyhow::ensure!(number <= has, "the service has {has} personas, not {number}");
    Ok(listed.data.into_iter().take(number).map(|persona| persona.id).collect())
}

async fn measured<W: Work>(
    kind: &'static str,
    work: W,
    load: &LoadOptions,
    mut watched: Vec<Watched>,
    idle: Option<IdleSockets>,
) -> anyhow::Result<ExitCode> {
    // The last one is the generator itself.
    watched.push(Watched::begin(std::process::id()));
    watched.iter_mut().for_each(Watched::open);
    let measures = Arc::new(Measures::new(Window::begin(load.warm_up, load.duration)));
    let run = Run::new(work, measures.clone(), load.timeout, load.settle);
    let all = async {
        tokio::join!(run.clone().run(load.pace()), until_end(&measures, &mut watched));
    };
    tokio::select! {
        () = all => {}
        () = stopped_by_hand(&run) => {}
        () = progress(&measures, &run, load.quiet) => {}
    }

    let report = Report::new(kind, load, &measures, &watched, idle.as_ref().map(IdleSockets::counts));
    if let Some(file) = &load.json {
        std::fs::write(file, report.json()).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(file) = &load.svg {
        plot::run(file, &report).with_context(|| format!("cannot draw {}", file.display()))?;
    }
    // Whoever closed the output does not want to read it.
    drop(std::io::stdout().lock().write_all(report.table().as_bytes()));
    let is_bad = load.strict && !report.is_clean();
    Ok(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Looks at the processes when the warm-up ends and when the window ends, which may be earlier than it was to be.
async fn until_end(measures: &Measures, watched: &mut [Watched]) {
    until(|| measures.window().from).await;
    watched.iter_mut().for_each(Watched::warm);
    until(|| measures.window().to).await;
    watched.iter_mut().for_each(Watched::end);
}

async fn until(time: impl Fn() -> Instant) {
    const STEP: Duration = Duration::from_millis(50);
    while Instant::now() < time() {
        sleep_until((Instant::now() + STEP).min(time()).into()).await;
    }
}

/// Ends the run with its results at the first signal, and without waiting for anything at the second.
async fn stopped_by_hand<W: Work>(run: &Run<W>) {
    let Ok(mut terminated) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    loop {
        tokio::select! {
            pressed = tokio::signal::ctrl_c() => if pressed.is_err() { std::future::pending::<()>().await },
            _ = terminated.recv() => {}
        }
        run.stop();
    }
}

async fn progress<W: Work>(measures: &Measures, run: &Run<W>, is_quiet: bool) {
    loop {
        let next = measures.counts().series.next();
        sleep_until(next.into()).await;
        let mut counts = measures.counts();
        counts.series.roll(Instant::now());
        let (Some(last), false) = (counts.series.last(), is_quiet) else { continue };
        let is_warm = counts.series.next() > measures.window().from + Duration::from_secs(1);
        let phase = if is_warm { "" } else { "warm-up" };
        eprintln!(
            "{:>5} s  {:>7}/s  p50 {:>9.3} ms  p99 {:>9.3} ms  {:>5} in flight  {:>6} refused  {:>6} errors  {:>6} not asked  {phase}",
            last.second + 1,
            last.completed,
            last.p50_ms,
            last.p99_ms,
            run.in_flight(),
            last.refused,
            last.errors,
            last.not_asked,
        );
    }
}
