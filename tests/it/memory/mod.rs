//! Conversations on real Redis servers that die, stall, come back and forget.

mod forgetting;
mod outages;
mod several_redis;
mod stand;
