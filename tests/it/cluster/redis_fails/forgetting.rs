//! Conversations are forgotten while Redis is away.

use super::Stage;
use crate::support::eventually;
use crate::support::redis::RedisServer;

/// A conversation that everybody knows, and one whose turn runs, are forgotten without Redis.
async fn is_forgotten(redis: &RedisServer, with_data: bool) {
    let url = redis.url();
    let mut stage = Stage::of([&url, &url, &url], 5, &[]).await;
    stage.tell().await;
    stage.have_ended(0..3).await;
    for told in stage.told() {
        stage.is_told_everywhere(told, 200).await;
    }
    stage.speak(10_000);
    let place = stage.begin(1).await;
    stage.follow(place, 2).await;
    redis.kill_9();
    stage.is_degraded().await;

    // Not where it was told, and where it is told.
    let forgets = &stage.replicas[1].client;
    for told in [&stage.told()[0], &stage.told()[place]] {
        let forgotten = forgets.delete(&format!("/api/v1/conversations/{}", told.conversation())).await;
        assert_eq!(forgotten.status, 204, "{forgotten:?}");
    }
    let end = stage.told()[place].on_owner().has_seen("turn.cancelled").await;
    assert_eq!(end.data["reason"], "deleted");
    if with_data {
        redis.restart().await;
    } else {
        redis.restart_empty().await;
    }
    stage.is_well().await;
    stage.all_have_ended().await;
    for (number, told) in stage.told().iter().enumerate() {
        let status = if number == 0 || number == place { 404 } else { 200 };
        stage.is_told_everywhere(told, status).await;
    }

    // Nor does a replica that stood aside bring it back when all of it is asked for again.
    redis.restart_empty().await;
    let lost = if with_data { 1.0 } else { 2.0 };
    for replica in stage.replicas.iter() {
        eventually("it notices", async || replica.metric("redis_data_lost_total").await == lost).await;
    }
    stage.is_well().await;
    for (number, told) in stage.told().iter().enumerate() {
        let status = if number == 0 || number == place { 404 } else { 200 };
        stage.is_told_everywhere(told, status).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forgotten_without_redis_is_forgotten_by_it() {
    is_forgotten(&RedisServer::builder().durable().start().await, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forgotten_without_redis_does_not_come_back_with_what_it_lost() {
    is_forgotten(&RedisServer::start().await, false).await;
}
