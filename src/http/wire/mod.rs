//! The documents' schemas: what every body looks like, for people and generators.
//!
//! These types are never sent. What is sent is what `words` serialises to; a test reads every example of the contract
//! with both, so that the two cannot drift.

mod event;
mod parts;
mod problem;

pub use event::TurnEvent;
pub use parts::*;
pub use problem::{Fault, Problem};
