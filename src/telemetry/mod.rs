//! What an operator sees: metrics and logs. Names nothing of ours but the settings.

mod chain;
mod lines;
mod logs;
pub mod metrics;
mod output;
mod panics;
mod quiet;

pub use chain::Chain;
pub use logs::{InitError, Telemetry, init};
pub use panics::log_panics;
pub use quiet::Quiet;
