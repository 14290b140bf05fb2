//! Circuit breaker and retry policy. They know nothing of what they guard; they name the settings and the metrics.

mod breaker;
mod retry;

#[cfg(test)]
mod breaker_tests;

pub use breaker::{Breaker, Permit, Rejected, Snapshot};
pub use retry::{RetryPolicy, jittered};
