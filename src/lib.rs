//! The map of Polylogue; no logic.
//!
//! Arrows: `main → app → http → {connections, chat} → {graph, llm, turnlog, memory, limits, fleet, flags}`.
//! `words`, `config`, `telemetry`, `resilience` and `shutdown` may be named by everyone and name none of the others.

pub mod config;
pub mod telemetry;
pub mod words;
