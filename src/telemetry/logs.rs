//! Which log lines are written, and how.

use std::io::IsTerminal as _;
use std::time::Duration;

use tracing::Metadata;
use tracing_subscriber::filter::{EnvFilter, FilterFn, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use super::lines::Lines;
use super::output::Output;
use crate::config::{LogFormat, Telemetry as Settings};

/// Dependencies whose lines hold what a client or model said, or headers with keys; no filter can turn them on.
const NEVER: [&str; 5] = ["async_openai", "tungstenite", "tokio_tungstenite", "h2", "hyper_util"];

/// How long the last lines may take to be written; a reader that is gone must not hold the process.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// Logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The filter is none.
    #[error("telemetry.log_filter is not a filter")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// The thread that writes could not be started.
    #[error("the log's thread could not be started")]
    Thread(#[source] std::io::Error),
}

/// Logging while it lives; the last lines are written when it is dropped.
#[derive(Debug)]
pub struct Telemetry {
    output: Output,
}

impl Telemetry {
    /// Waits until everything logged so far is written, for at most a second.
    pub fn flush(&self) {
        self.output.flush(FLUSH_LIMIT);
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Starts logging to stdout, in the name of `replica`. In a process that logs already (a second service in one test)
/// the first stays in force.
pub fn init(settings: &Settings, replica: &str) -> Result<Telemetry, InitError> {
    let filter = EnvFilter::try_new(&settings.log_filter).map_err(InitError::Filter)?;
    let output = Output::stdout().map_err(InitError::Thread)?;
    let terminal = std::io::stdout().is_terminal();
    let human = match settings.log_format {
        LogFormat::Auto => terminal,
        LogFormat::Json => false,
        LogFormat::Human => true,
    };
    let registry = tracing_subscriber::registry().with(filter).with(silence());
    let first = if human {
        let lines = fmt::layer().with_writer(output.clone()).with_ansi(terminal).log_internal_errors(false);
        registry.with(lines.boxed()).try_init()
    } else {
        registry.with(Lines::new(replica, output.clone()).boxed()).try_init()
    };
    if first.is_err() {
        tracing::debug!("this process logs already");
    }
    Ok(Telemetry { output })
}

fn silence() -> FilterFn {
    filter_fn(|metadata: &Metadata<'_>| {
        let library = metadata.target().split("::").next().unwrap_or_default();
        !NEVER.contains(&library)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_service_in_one_process_may_start_logging_too() {
        let settings = Settings { log_format: LogFormat::Json, log_filter: "off".into() };
        let first = init(&settings, "one").unwrap();
        let second = init(&settings, "two").unwrap();
        first.flush();
        second.flush();
    }
}
