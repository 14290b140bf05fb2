//! CLI → config → telemetry → app → exit code.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Duration;

use polylogue::app;
use polylogue::cli::{Cli, Task, ask};
use polylogue::config::Effective;
use polylogue::exit::Failure;
use polylogue::shutdown::Shutdown;
use polylogue::telemetry::{self, Telemetry};
use polylogue::words::ReplicaId;
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long threads that block (a name lookup) may hold the end of the process.
const BLOCKED_LIMIT: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    match catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(Failure::Bug)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_said() {
                let _ = writeln!(std::io::stderr(), "{failure}");
            }
            failure.into()
        }
    }
}

fn run() -> Result<(), Failure> {
    let Some(cli) = Cli::read(std::env::args_os())? else { return Ok(()) };
    match cli.begin(std::env::vars_os().collect())? {
        Task::Serve(settings) => within_runtime(serve(*settings)),
        Task::SimulateLlm(settings) => within_runtime(simulate_llm(*settings)),
        Task::Healthcheck(probe) => within_runtime(probe.healthcheck()),
        Task::Ask(question) => within_runtime(ask(&question)),
        Task::Done => Ok(()),
    }
}

fn within_runtime(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = Runtime::new().map_err(|error| Failure::Unavailable(format!("threads: {error}")))?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(BLOCKED_LIMIT);
    result
}

async fn serve(settings: Effective) -> Result<(), Failure> {
    let replica = ReplicaId::random();
    let (telemetry, shutdown) = prepare(&settings, replica.as_str())?;
    let serving = async {
        let result = app::serve(settings.config, replica, shutdown.clone()).await;
        telemetry.end().await;
        result
    };
    shutdown.unless_abandoned(Box::pin(serving)).await.unwrap_or(Err(Failure::Abandoned))
}

async fn simulate_llm(settings: Effective) -> Result<(), Failure> {
    let (_telemetry, shutdown) = prepare(&settings, "simulator")?;
    let simulating = app::simulate_llm(settings.config.simulator, shutdown.clone());
    shutdown.unless_abandoned(simulating).await.unwrap_or(Err(Failure::Abandoned))
}

fn prepare(settings: &Effective, replica: &str) -> Result<(Telemetry, Shutdown), Failure> {
    let telemetry = telemetry::init(&settings.config.telemetry, &settings.config.tracing, replica)
        .map_err(|error| Failure::Unavailable(error.to_string()))?;
    telemetry::log_panics();
    for warning in &settings.warnings {
        tracing::warn!(event = "configuration_warning", warning, "the configuration is odd");
    }
    let shutdown = Shutdown::on_signals().map_err(|error| Failure::Unavailable(format!("signals: {error}")));
    Ok((telemetry, shutdown?))
}
