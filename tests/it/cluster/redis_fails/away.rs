//! Redis is away and comes back.

use tokio::time::sleep;

use super::{LONGER_THAN_THE_LEASE, Stage};
use crate::support::redis::RedisServer;

/// Redis is away while turns are told and others begin, for a moment or longer than the dead are waited for.
async fn goes_on_without(redis: &RedisServer, is_long: bool, tokens: u32) -> Stage {
    let url = redis.url();
    let mut stage = Stage::of([&url, &url, &url], tokens, &[]).await;
    stage.tell().await;
    redis.kill_9();
    stage.is_degraded().await;
    stage.owners_go_on(0..3).await;
    stage.elsewhere_nobody_can_tell().await;
    stage.tell_alone().await;
    if is_long {
        sleep(LONGER_THAN_THE_LEASE).await;
    }
    stage
}

async fn all_is_found_again(redis: &RedisServer, stage: &Stage) {
    stage.must_balance().await;
    stage.nobody_took_a_turn().await;
    stage.has_logged("turn_restored", 3).await;
    assert_eq!(redis.keys("*:turn:*").await.len(), stage.told().len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moment_without_redis_is_noticed_by_nobody() {
    let redis = RedisServer::builder().durable().start().await;
    let stage = goes_on_without(&redis, false, 120).await;
    redis.restart().await;
    all_is_found_again(&redis, &stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_takes_the_turns_of_the_living_after_a_long_time_without_redis() {
    let redis = RedisServer::builder().durable().start().await;
    let stage = goes_on_without(&redis, true, 220).await;
    redis.restart().await;
    all_is_found_again(&redis, &stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_comes_back_with_nothing_is_given_everything() {
    let redis = RedisServer::start().await;
    let stage = goes_on_without(&redis, false, 120).await;
    redis.restart_empty().await;
    all_is_found_again(&redis, &stage).await;
    stage.has_logged("redis_data_lost", 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_comes_back_late_and_with_nothing_is_given_everything() {
    let redis = RedisServer::start().await;
    let stage = goes_on_without(&redis, true, 220).await;
    redis.restart_empty().await;
    all_is_found_again(&redis, &stage).await;
    for replica in stage.replicas.iter() {
        assert_eq!(replica.metric("redis_data_lost_total").await, 1.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_leads_to_its_turn_also_when_that_has_ended_before_redis_went_away() {
    let redis = RedisServer::builder().durable().start().await;
    let url = redis.url();
    let mut stage = Stage::of([&url, &url, &url], 5, &[]).await;
    stage.tell().await;
    stage.all_have_ended().await;
    redis.kill_9();
    stage.is_degraded().await;
    stage.all_are_known().await;
    redis.restart().await;
    stage.must_balance().await;
    stage.nobody_took_a_turn().await;
}
