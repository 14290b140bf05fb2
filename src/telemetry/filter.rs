//! Which log lines are written, changeable while the process runs.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, LevelFilter, ParseError};
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;

use super::lines::tells;
use super::traces::SPAN_ONLY;

/// Dependencies whose lines hold what a client or model said, or headers with keys; no filter can turn them on.
const NEVER: [&str; 7] =
    ["async_openai", "tungstenite", "tokio_tungstenite", "h2", "hyper", "hyper_util", "reqwest"];

/// The longest filter that is taken while the process runs, in bytes.
const MAX_FILTER: usize = 1024;

/// The filter of the process' log: there is one log, so there is one.
static LEVELS: OnceLock<LogLevels> = OnceLock::new();

/// A filter cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// It is none.
    #[error("must be a filter such as info,polylogue=debug")]
    Wrong(#[source] ParseError),
    /// It is too long.
    #[error("must be at most {MAX_FILTER} bytes")]
    TooLong,
    /// Nothing is logged by this process.
    #[error("this process does not log")]
    NoLog,
}

/// The filter in force.
#[derive(Debug)]
pub struct LogLevels {
    handle: reload::Handle<LogFilter, Registry>,
    text: Mutex<Arc<str>>,
    seen: SpansSeen,
}

impl LogLevels {
    /// The filter of this process, once it logs.
    pub fn of_process() -> Option<&'static Self> {
        LEVELS.get()
    }

    /// The filter, in the syntax of `RUST_LOG`.
    pub fn text(&self) -> Arc<str> {
        Arc::clone(&self.text.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another filter in force, at once and until the process ends.
    pub fn change(&self, text: &str) -> Result<(), FilterError> {
        if text.len() > MAX_FILTER {
            return Err(FilterError::TooLong);
        }
        let filter = LogFilter::new(text, self.seen).map_err(FilterError::Wrong)?;
        let mut current = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        self.handle.reload(filter).map_err(|_| FilterError::NoLog)?;
        *current = text.into();
        drop(current);
        tracing::info!(event = "log_filter_changed", filter = text, "another log filter is in force");
        Ok(())
    }
}

/// The filter of the log, and what it is changed by; call [`publish`] once it is in force.
pub(super) fn reloadable(
    text: &str,
    seen: SpansSeen,
) -> Result<(reload::Layer<LogFilter, Registry>, LogLevels), ParseError> {
    let (filter, handle) = reload::Layer::new(LogFilter::new(text, seen)?);
    Ok((filter, LogLevels { handle, text: Mutex::new(text.into()), seen }))
}

/// Makes the filter the one of the process; the first stays.
pub(super) fn publish(levels: LogLevels) {
    let _ = LEVELS.set(levels);
}

/// Which spans of ours a line looks at, whatever the level is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpansSeen {
    /// All: the innermost is the place of the line in its trace.
    All,
    /// Those that say what lines take over from them. Others would cost every turn and tell nobody anything.
    Telling,
}

/// What `RUST_LOG` says, with two differences: spans of ours are seen, so that a line has the ids of what it is about
/// whatever the level is; and some dependencies are never heard.
#[derive(Debug)]
pub(super) struct LogFilter(EnvFilter, SpansSeen);

impl LogFilter {
    fn new(text: &str, seen: SpansSeen) -> Result<Self, ParseError> {
        EnvFilter::try_new(text).map(|filter| Self(filter, seen))
    }

    /// What is decided before anybody asks the filter.
    fn fixed(&self, metadata: &Metadata<'_>) -> Option<bool> {
        let library = metadata.target().split("::").next().unwrap_or_default();
        if metadata.is_span() && library == "polylogue" && *metadata.level() <= tracing::Level::INFO {
            return Some(self.1 == SpansSeen::All || tells(metadata));
        }
        (NEVER.contains(&library) || metadata.target() == SPAN_ONLY).then_some(false)
    }
}

impl<S: Subscriber> Filter<S> for LogFilter {
    fn enabled(&self, metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        self.fixed(metadata).unwrap_or_else(|| Filter::<S>::enabled(&self.0, metadata, context))
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        match self.fixed(metadata) {
            Some(true) => Interest::always(),
            Some(false) => Interest::never(),
            None => Filter::<S>::callsite_enabled(&self.0, metadata),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Filter::<S>::max_level_hint(&self.0).map(|hint| hint.max(LevelFilter::INFO))
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        Filter::<S>::on_new_span(&self.0, attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        Filter::<S>::on_record(&self.0, id, values, context);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        Filter::<S>::on_enter(&self.0, id, context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        Filter::<S>::on_exit(&self.0, id, context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        Filter::<S>::on_close(&self.0, id, context);
    }
}
