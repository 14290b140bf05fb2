//! Circuit breaker, retry policy, and a measure of overload. They know nothing of what they guard; they name the settings and the
//! metrics.

mod breaker;
mod pressure;
mod retry;

#[cfg(test)]
mod breaker_tests;

pub use breaker::{Breaker, Permit, Rejected, Snapshot};
pub use pressure::Pressure;
pub use retry::{RetryPolicy, jittered};
