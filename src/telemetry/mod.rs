//! What an operator sees: metrics, logs and traces. Names nothing of ours but the settings.

mod chain;
mod filter;
mod lines;
mod logs;
pub mod metrics;
mod output;
mod panics;
mod quiet;
pub mod traces;

pub use chain::Chain;
pub use filter::{FilterError, LogLevels};
pub use logs::{InitError, Telemetry, init};
pub use panics::log_panics;
pub use quiet::Quiet;
