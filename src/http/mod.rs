//! The edge: accept loop, requests and frames in, events out; no decisions.

pub mod accept;
pub mod body;
pub mod client_address;
mod forwarded;
mod health;
pub mod limit_headers;
pub mod problem;
pub mod wire;
mod services;
mod sse;
pub mod ws;

pub use health::{Health, Readiness};
pub use services::{Identity, Services};
