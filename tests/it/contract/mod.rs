//! One behavioural suite per seam, run against every implementation of it.

mod chat_model;
mod leases;
mod limiter;
mod memory;
pub mod redis;
pub mod turnlog;
