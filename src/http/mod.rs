//! The edge: accept loop, requests and frames in, events out; no decisions.

pub mod api;
pub mod asyncapi;
pub mod body;
pub mod document;
pub mod problem;
mod services;
pub mod sse;
pub mod wire;

pub use services::{Health, Identity, Services};
