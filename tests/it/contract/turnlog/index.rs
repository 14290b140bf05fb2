//! The index of who owns which turn, where a failover took back what was written of the turn and not of the index: on a
//! Cluster they are on different nodes.

use polylogue::turnlog::Appended;

use super::redis_log;
use super::stage::*;
use crate::contract::redis::connect;
use crate::support::redis::RedisServer;

const REPLICAS: &str = "names:1:{fleet}:replicas";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_whose_release_was_taken_back_is_found_when_its_owner_has_gone() {
    let server = RedisServer::start().await;
    let connected = connect(&server.url(), "names");
    let log = redis_log(&connected);
    let turn = new_turn("c", "a");
    let claim = accept(log.as_ref(), &turn).await;
    log.release(&claim, id(1, 1)).await.unwrap();
    let key = server.keys("*:turn:*").await.remove(0);

    server.command(&["HSET", &key, "owner", "a"]).await;
    server.command(&["HSET", REPLICAS, "a", "7 0.1.0"]).await;
    assert_eq!(log.owned(None).await.unwrap(), [], "its owner is there");
    server.command(&["HDEL", REPLICAS, "a"]).await;

    assert_eq!(log.owned(None).await.unwrap(), [(turn.turn, 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_whose_takeover_was_taken_back_is_found_although_the_dead_are_forgotten() {
    let server = RedisServer::start().await;
    let connected = connect(&server.url(), "names");
    let log = redis_log(&connected);
    let turn = new_turn("c", "a");
    accept(log.as_ref(), &turn).await;
    let (new, _) = take_over(log.as_ref(), turn.turn, 1, "b").await;
    let key = server.keys("*:turn:*").await.remove(0);

    server.command(&["HSET", &key, "owner", "a", "epoch", "1"]).await;
    assert_eq!(log.append(&new, id(1, 1), &[]).await.unwrap(), Appended::Fenced);

    assert_eq!(log.owned(None).await.unwrap(), [(turn.turn, 1)]);
}
