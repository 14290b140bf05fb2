//! What an operator sees: metrics and logs. Names nothing of ours but the settings.

pub mod metrics;
mod quiet;

pub use quiet::Quiet;
