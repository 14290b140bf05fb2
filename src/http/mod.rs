//! The edge: accept loop, requests and frames in, events out; no decisions.

pub mod client_address;
mod forwarded;
pub mod limit_headers;
pub mod problem;
mod services;

pub use services::{Health, Identity, Services};
