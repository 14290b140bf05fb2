//! The map of Polylogue; no logic.
//!
//! Arrows: `main → app → http → {connections, chat, auth} → {graph, llm, turnlog, memory, limits, fleet, flags}`.
//! `words`, `config`, `telemetry`, `resilience` and `shutdown` may be named by everyone and name none of the others.

pub mod app;
pub mod auth;
pub mod chat;
pub mod cli;
pub mod config;
pub mod connections;
pub mod exit;
pub mod flags;
pub mod fleet;
pub mod graph;
pub mod http;
pub mod limits;
pub mod llm;
pub mod memory;
pub mod redis;
pub mod resilience;
pub mod shutdown;
pub mod simulator;
pub mod telemetry;
pub mod turnlog;
pub mod words;

#[cfg(test)]
#[path = "../tests/fuzz/mod.rs"]
mod fuzz;
