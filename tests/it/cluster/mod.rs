//! Three replicas of the real program on a real Redis are one service.

mod clocks;
mod crowds;
mod dying;
mod killed;
mod limits;
mod paused;
mod racing;
mod reach;
mod redis_fails;
mod rolling;
mod together;
mod wandering;
mod witness;

use polylogue::simulator::Controls;

use crate::support::redis::RedisServer;
use crate::support::replicas::Replicas;

/// Three replicas on one Redis, and their model.
struct Service {
    replicas: Replicas,
    redis: RedisServer,
    model: Controls,
}

impl Service {
    async fn start(settings: &[&str]) -> Self {
        let (simulator, model) = crate::support::model().await;
        let redis = RedisServer::start().await;
        let replicas = Replicas::start(3, &simulator, Some(&redis.url()), settings).await;
        Self { replicas, redis, model }
    }
}
