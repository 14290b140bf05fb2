//! TLS on both ports.

mod clients;
mod files;
mod handshake;
mod reload;
mod rig;
mod service;
