//! The edge: accept loop, requests and frames in, events out; no decisions.

pub mod problem;
mod services;
pub mod ws;

pub use services::{Health, Identity, Services};
