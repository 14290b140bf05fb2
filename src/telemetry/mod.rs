//! What an operator sees: metrics and logs. Names nothing of ours but the settings.

mod lines;
mod logs;
pub mod metrics;
mod output;
mod panics;

pub use logs::{InitError, Telemetry, init};
pub use panics::log_panics;
