//! Redis stands still and goes on.

use tokio::time::sleep;

use super::{LONGER_THAN_THE_LEASE, Stage};
use crate::support::redis::RedisServer;

/// A Redis that does not answer is noticed after three of these.
const SOON: [&str; 2] = ["redis.timeout=250ms", "redis.limit_timeout=250ms"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_stood_still_for_longer_than_the_lease_makes_nobody_look_dead() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let mut stage = Stage::of([&url, &url, &url], 220, &SOON).await;
    stage.tell().await;
    redis.pause();
    stage.is_degraded().await;
    stage.owners_go_on(0..3).await;
    stage.elsewhere_nobody_can_tell().await;
    stage.tell_alone().await;
    sleep(LONGER_THAN_THE_LEASE).await;
    redis.go_on();
    stage.must_balance().await;
    stage.nobody_took_a_turn().await;
    stage.has_logged("turn_restored", 3).await;
    assert_eq!(redis.keys("*:turn:*").await.len(), stage.told().len());
}
