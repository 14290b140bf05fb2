//! Attacks on the running program, while a well-behaved client goes on using it.
//!
//! Each says what the server did, how long the good client waited and what the process' memory did: run them with
//! `cargo test --test it -- attacks:: --nocapture --test-threads=1` to read the figures. No figure of time is a condition: machines
//! differ. Conditions are that every request of the good client succeeds, that attackers are closed or refused, and
//! that memory stays within a bound.

#![expect(clippy::print_stdout, reason = "the figures are what these tests are run for")]

mod bodies;
mod crowds;
mod forged;
mod frames;
mod headers;
mod http2;
mod readers;
mod smuggling;
mod sockets;
mod target;
mod watch;
