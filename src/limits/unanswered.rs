//! What the log says when Redis did not do what it was asked.

use std::sync::Arc;

use tracing::{info, warn};

use crate::redis::RedisError;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::SPAN_ONLY;
use crate::telemetry::{Chain, Quiet};

/// Lines a minute: enough to see what is wrong.
const LOGGED: u32 = 3;

/// Logs calls that Redis did not answer as it should have; whoever made them goes on in a smaller way.
#[derive(Debug)]
pub(super) struct Unanswered {
    quiet: Quiet,
    metrics: Arc<Metrics>,
}

impl Unanswered {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { quiet: Quiet::new("redis_call_failed", LOGGED), metrics }
    }

    /// That the circuit is open was logged when it opened.
    pub(super) fn log(&self, error: &RedisError) {
        if matches!(error, RedisError::Open(_)) {
            return;
        }
        if let Some(suppressed) = self.quiet.line(&self.metrics.process) {
            warn!(event = "redis_call_failed", error = %Chain(error), suppressed, "redis did not answer as it should");
        } else {
            info!(target: SPAN_ONLY, event = "redis_call_failed");
        }
    }
}
