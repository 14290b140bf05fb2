//! Traces: spans by OTLP, and the context that ties them to those of callers and models.

mod collector;
mod context;
mod export;
mod incoming;
mod layer;
mod names;
mod otlp;
mod queue;
mod sampler;
mod span;

use std::sync::Arc;
use std::time::Duration;

pub use context::{NoTraceContext, TraceContext};
pub use incoming::Incoming;
pub use layer::current;
pub(super) use layer::{Open, Spans};
use queue::Queue;
use sampler::Sampler;

use super::output::DROPPED;
use crate::config::Tracing;

/// The target of an event that is an event of its span only: its log lines are left out because there are too many.
pub const SPAN_ONLY: &str = "polylogue::span_only";

/// How long the last spans may take to be sent when the process ends.
const FLUSH_LIMIT: Duration = Duration::from_secs(3);

/// Spans could not be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The HTTP client cannot be made.
    #[error("the HTTP client for spans cannot be made")]
    Client(#[source] reqwest::Error),
    /// The certificates cannot be read.
    #[error("tracing.ca_file cannot be read")]
    CaFile(#[source] std::io::Error),
    /// A header is none.
    #[error("tracing.headers holds what cannot be a header")]
    Headers,
    /// The thread that sends could not be started.
    #[error("the thread that sends spans could not be started")]
    Thread(#[source] std::io::Error),
}

/// Tracing while it lives.
#[derive(Debug)]
pub(super) struct Traces {
    queue: Option<Arc<Queue>>,
}

/// Starts tracing in the name of `replica`; what notes spans, if any are to be noted, and what ends it.
pub(super) fn start(settings: &Tracing, replica: &str) -> Result<(Option<Spans>, Traces), StartError> {
    let queue = settings.target().map(|url| {
        let queue = Arc::new(Queue::new(settings));
        export::start(Arc::clone(&queue), url, settings, replica).map(|()| queue)
    });
    let queue = queue.transpose()?;
    let spans =
        settings.enabled.then(|| Spans::new(Sampler::new(settings), queue.clone(), settings.span_events));
    Ok((spans, Traces { queue }))
}

impl Traces {
    /// Waits until all spans so far are sent, for at most three seconds. Blocks.
    pub fn flush(&self) {
        if let Some(queue) = &self.queue {
            queue.flush(FLUSH_LIMIT);
        }
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Some(queue) = &self.queue {
            queue.close();
        }
    }
}

/// So many spans are lost.
fn dropped(count: usize) {
    DROPPED.with_label_values(&["traces"]).inc_by(count as u64);
}
