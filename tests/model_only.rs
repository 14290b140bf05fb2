#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "x")]
#[path = "it/model/mod.rs"]
mod model;
