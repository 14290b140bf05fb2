//! Claims about the tests' own tools: what they break is broken, and what they find missing is missing.

mod fleet;
mod network;
mod several_redis;
mod single_redis;
mod tales;
