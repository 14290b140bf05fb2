//! Claims about the service's behaviour, on real parts.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should say where"
)]

mod api;
mod architecture;
mod attacks;
mod auth;
mod cluster;
mod contract;
mod edge;
mod flow;
mod limits;
mod logs;
mod memory;
mod model;
mod owners;
mod process;
mod readme;
mod resume;
mod rig;
mod simulator;
mod sockets;
mod support;
mod takeover;
mod tls;
mod tracing;
mod turns;
