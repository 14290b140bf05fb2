//! Real Redis servers on loopback, each a process of its test, and what can go wrong with them.

mod cluster;
mod process;
mod proxy;
mod resp;
mod sentinels;
mod server;

pub use cluster::RedisCluster;
pub use proxy::{Mode, Proxy};
pub use sentinels::Sentinels;
pub use server::RedisServer;
