//! Redis answers, and says no.

use super::Stage;
use crate::support::redis::{Mode, Proxy, RedisServer};

const NOT_NOW: [&str; 3] = [
    "READONLY You can't write against a read only replica.",
    "LOADING Redis is loading the dataset in memory",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_answers_everybody_not_now_is_as_good_as_away() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::to(&redis.address()).await;
    let url = redis.url_by(&proxy.address());
    let mut stage = Stage::of([&url, &url, &url], 200, &[]).await;
    stage.tell().await;
    stage.speak(60);
    for error in NOT_NOW {
        proxy.set(Mode::Say(error.to_owned()));
        stage.is_degraded().await;
        stage.owners_go_on(0..3).await;
        stage.elsewhere_nobody_can_tell().await;
        stage.tell_alone().await;
        proxy.set(Mode::Pass);
        stage.is_well().await;
    }
    stage.must_balance().await;
    stage.nobody_took_a_turn().await;
    stage.has_logged("turn_restored", 3 * NOT_NOW.len()).await;
    assert_eq!(redis.keys("*:turn:*").await.len(), stage.told().len());
}

/// Reads are answered all the time, so that readers elsewhere can tell what was written before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_full_is_as_good_as_away_until_there_is_room() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let mut stage = Stage::of([&url, &url, &url], 120, &[]).await;
    stage.tell().await;
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    stage.is_degraded().await;
    stage.owners_go_on(0..3).await;
    stage.tell_alone().await;
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    stage.must_balance().await;
    stage.nobody_took_a_turn().await;
    stage.has_logged("turn_restored", 3).await;
    assert_eq!(redis.keys("*:turn:*").await.len(), stage.told().len());
}
