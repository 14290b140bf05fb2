//! Which log lines are written, and how.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use tracing_subscriber::filter::{ParseError, filter_fn};
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, fmt};

use super::filter::{self, SpansSeen};
use super::lines::Lines;
use super::output::Output;
use super::traces::{self, StartError, Traces};
use crate::config::{self, LogFormat};

/// How long the last lines may take to be written; a reader that is gone must not hold the process.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// Logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The filter is none.
    #[error("telemetry.log_filter is not a filter")]
    Filter(#[source] ParseError),
    /// The thread that writes could not be started.
    #[error("the log's thread could not be started")]
    Thread(#[source] std::io::Error),
    /// Spans could not be sent.
    #[error("tracing cannot begin")]
    Traces(#[from] StartError),
}

/// Logging and tracing while they live; the last lines are written when it is dropped.
#[derive(Debug)]
pub struct Telemetry {
    output: Output,
    traces: Arc<Traces>,
}

impl Telemetry {
    /// Waits until all spans so far are sent, for at most three seconds; to be called last, when nothing makes spans any
    /// more.
    pub async fn end(&self) {
        let traces = Arc::clone(&self.traces);
        // It blocks, and the thread that sends must not wait for a worker of ours.
        let _ = tokio::task::spawn_blocking(move || traces.flush()).await;
        self.flush();
    }

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

/// Starts logging to stdout and tracing, in the name of `replica`. In a process that logs already (a second service in
/// one test) the first stays in force.
pub fn init(
    settings: &config::Telemetry,
    tracing: &config::Tracing,
    replica: &str,
) -> Result<Telemetry, InitError> {
    let human = is_human(settings.log_format);
    let seen = if human || tracing.target().is_some() { SpansSeen::All } else { SpansSeen::Telling };
    let (filter, levels) = filter::reloadable(&settings.log_filter, seen).map_err(InitError::Filter)?;
    let output = Output::stdout().map_err(InitError::Thread)?;
    let lines = lines(human, replica, output.clone()).with_filter(filter);
    let (spans, traces) = traces::start(tracing, replica)?;
    let spans = spans.map(|spans| {
        let wanted = spans.clone();
        spans.with_filter(filter_fn(move |metadata| wanted.wants(metadata)))
    });
    match tracing_subscriber::registry().with(lines).with(spans).try_init() {
        Ok(()) => filter::publish(levels),
        Err(_) => tracing::debug!("this process logs already"),
    }
    Ok(Telemetry { output, traces: Arc::new(traces) })
}

fn is_human(format: LogFormat) -> bool {
    match format {
        LogFormat::Auto => std::io::stdout().is_terminal(),
        LogFormat::Json => false,
        LogFormat::Human => true,
    }
}

fn lines(human: bool, replica: &str, output: Output) -> Box<dyn Layer<Registry> + Send + Sync> {
    let terminal = std::io::stdout().is_terminal();
    if !human {
        return Lines::new(replica, output).boxed();
    }
    // What a span is to its trace does not help a reader.
    let fields = debug_fn(|writer, field, value| match field.name() {
        "message" => write!(writer, "{value:?}"),
        name if name.starts_with("otel.") => Ok(()),
        name => write!(writer, "{name}={value:?} "),
    });
    let lines = fmt::layer().with_writer(output).with_ansi(terminal).log_internal_errors(false);
    lines.fmt_fields(fields).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_service_in_one_process_may_start_logging_too() {
        let settings = config::Telemetry { log_format: LogFormat::Json, log_filter: "off".into() };
        let tracing = config::Config::default().tracing;
        let first = init(&settings, &tracing, "one").unwrap();
        let second = init(&settings, &tracing, "two").unwrap();
        first.flush();
        second.flush();
    }
}
