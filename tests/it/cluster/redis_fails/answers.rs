//! Redis answers, and says no.

use super::Stage;
use crate::support::redis::{Mode, Proxy, RedisServer};

/// Says the same to everybody, whatever they ask.
async fn says(error: &str) {
    let redis = RedisServer::start().await;
    let proxy = Proxy::to(&redis.address()).await;
    let url = redis.url_by(&proxy.address());
    let mut stage = Stage::of([&url, &url, &url], 120, &[]).await;
    stage.tell().await;
    proxy.set(Mode::Say(error.to_owned()));
    stage.is_degraded().await;
    stage.owners_go_on().await;
    stage.elsewhere_nobody_can_tell().await;
    stage.tell_alone().await;
    proxy.set(Mode::Pass);
    stage.must_balance().await;
    stage.nobody_took_a_turn().await;
    stage.has_logged("turn_restored", 3).await;
    assert_eq!(redis.keys("*:turn:*").await.len(), stage.told().len(), "{error}");
}

#[tokio::test]
async fn a_redis_that_takes_no_writes_is_as_good_as_away() {
    says("READONLY You can't write against a read only replica.").await;
}

#[tokio::test]
async fn a_redis_that_still_reads_its_data_is_as_good_as_away() {
    says("LOADING Redis is loading the dataset in memory").await;
}

#[tokio::test]
async fn a_redis_that_is_busy_with_a_script_is_as_good_as_away() {
    says("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.").await;
}

/// Reads are answered all the time, so that readers elsewhere can tell what was written before.
#[tokio::test]
async fn a_redis_that_is_full_is_as_good_as_away_until_there_is_room() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let mut stage = Stage::of([&url, &url, &url], 120, &[]).await;
    stage.tell().await;
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    stage.is_degraded().await;
    stage.owners_go_on().await;
    stage.tell_alone().await;
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    stage.must_balance().await;
    stage.nobody_took_a_turn().await;
    stage.has_logged("turn_restored", 3).await;
    assert_eq!(redis.keys("*:turn:*").await.len(), stage.told().len());
}
