//! What an operator sees: metrics and logs. Names nothing of ours but the settings.

mod chain;
pub mod metrics;
mod quiet;

pub use quiet::Quiet;

pub use chain::Chain;
