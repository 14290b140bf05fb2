//! The edge: accept loop, requests and frames in, events out; no decisions.

pub mod accept;
mod health;
pub mod problem;
mod services;

pub use health::{Health, Readiness};
pub use services::{Identity, Services};
