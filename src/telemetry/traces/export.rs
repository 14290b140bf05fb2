//! The thread that sends spans. It has a runtime of its own: a collector that is slow or dead takes nothing from those who
//! serve.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::runtime::Builder;
use tokio::time::timeout;
use tracing::{info, warn};

use super::collector::{Collector, SendError};
use super::queue::Queue;
use super::{StartError, dropped, otlp};
use crate::config::Tracing;

/// Attempts for one batch, and the first wait between them, which doubles.
const ATTEMPTS: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// The longest wait that a collector may ask for; meanwhile spans are dropped.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

struct Exporter {
    queue: Arc<Queue>,
    collector: Collector,
    resource: Resource,
    timeout: Duration,
    /// Whether the last batch got lost: only changes are logged.
    is_failing: bool,
}

/// Starts the thread; it ends once the queue is closed and empty.
pub(super) fn start(
    queue: Arc<Queue>,
    url: String,
    settings: &Tracing,
    replica: &str,
) -> Result<(), StartError> {
    let exporter = Exporter {
        queue,
        collector: Collector::new(url, settings)?,
        resource: otlp::resource(settings, replica),
        timeout: *settings.timeout,
        is_failing: false,
    };
    let runtime = Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
    let run = move || runtime.block_on(exporter.run());
    thread::Builder::new().name("traces".into()).spawn(run).map_err(StartError::Thread)?;
    Ok(())
}

impl Exporter {
    async fn run(mut self) {
        while let Some(batch) = self.queue.next().await {
            let count = batch.len();
            let batch = otlp::request(&self.resource, batch);
            let sent = timeout(self.timeout, self.send(&batch)).await;
            let slow = || Err(SendError::Later { why: "no answer in time".into(), after: None });
            match sent.unwrap_or_else(|_| slow()) {
                Ok(rejected) => {
                    dropped(rejected);
                    self.works();
                }
                Err(error) => {
                    dropped(count);
                    self.fails(&error);
                }
            }
            self.queue.settle(count);
        }
    }

    /// All attempts for one batch; only one when somebody waits for the end.
    async fn send(&self, batch: &ExportTraceServiceRequest) -> Result<usize, SendError> {
        let mut wait = FIRST_WAIT;
        for _ in 1..ATTEMPTS {
            let after = match self.collector.send(batch).await {
                Err(SendError::Later { after, why }) => after.ok_or(why),
                ended => return ended,
            };
            let pause = after.as_ref().map_or(wait, |after| wait.max(*after)).min(LONGEST_WAIT);
            if !self.queue.pause(pause).await {
                let why = after.err().unwrap_or_else(|| "it asked to wait".into());
                return Err(SendError::Later { why, after: None });
            }
            wait *= 2;
        }
        self.collector.send(batch).await
    }

    fn works(&mut self) {
        if std::mem::take(&mut self.is_failing) {
            info!(event = "trace_export_recovered", "the collector takes spans again");
        }
    }

    fn fails(&mut self, error: &SendError) {
        if !std::mem::replace(&mut self.is_failing, true) {
            warn!(event = "trace_export_failed", error = %error, "spans are lost until the collector takes them");
        }
    }
}
