//! Another machine becomes Redis.

use super::Stage;
use crate::support::redis::{RedisCluster, Sentinels};

/// Turns that go on, turns that have ended, and turns that begin and end: a moment before the primary dies.
async fn tells_all_kinds(stage: &mut Stage) {
    stage.speak(5);
    stage.tell().await;
    stage.have_ended(3..6).await;
    stage.owners_go_on(0..3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_of_sentinels_is_noticed_by_nobody() {
    let redis = Sentinels::start().await;
    let url = redis.url();
    let mut stage = Stage::of([&url, &url, &url], 200, &[]).await;
    stage.tell().await;
    let old = redis.kill_primary().await;
    stage.is_degraded().await;
    stage.owners_go_on(0..3).await;
    stage.tell_alone().await;
    let new = redis.wait_for_new_primary(old).await;
    stage.must_balance().await;
    stage.nobody_took_a_turn().await;
    assert_eq!(new.keys("*:turn:*").await.len(), stage.told().len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_failover_of_sentinels_drops_is_written_again() {
    let redis = Sentinels::start().await;
    let url = redis.url();
    let mut stage = Stage::of([&url, &url, &url], 200, &[]).await;
    stage.tell().await;
    redis.primary().await.has_reached(2).await;
    redis.cut_replicas_off().await;
    tells_all_kinds(&mut stage).await;
    let old = redis.kill_primary().await;
    let new = redis.wait_for_new_primary(old).await;
    stage.must_balance().await;
    stage.nobody_took_a_turn().await;
    stage.has_logged("turn_restored", 3).await;
    assert_eq!(new.keys("*:turn:*").await.len(), stage.told().len());
}

/// The key of the first turn's state, by which its slot and the slot's owner are found.
fn first_key(stage: &Stage) -> String {
    let turn = &stage.told()[0].turn;
    format!("polylogue:1:{{{}}}:turn:{turn}", turn.split_once('-').unwrap().1)
}

async fn all_keys(redis: &RedisCluster) -> usize {
    let mut count = 0;
    for node in redis.nodes().iter().filter(|node| node.is_live()) {
        if node.info("role").await == "master" {
            count += node.keys("*:turn:*").await.len();
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_without_one_of_its_primaries_goes_on_with_every_turn() {
    let redis = RedisCluster::with_replicas().await;
    let url = redis.url();
    let mut stage = Stage::of([&url, &url, &url], 200, &[]).await;
    stage.tell().await;
    let key = first_key(&stage);
    redis.kill_owner_of(&key).await;
    stage.owners_go_on(0..3).await;
    redis.wait_for_new_owner_of(&key).await;
    stage.must_balance().await;
    stage.nobody_took_a_turn().await;
    assert_eq!(all_keys(&redis).await, stage.told().len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_failover_in_a_cluster_drops_is_written_again() {
    let redis = RedisCluster::with_replicas().await;
    let url = redis.url();
    let mut stage = Stage::of([&url, &url, &url], 200, &[]).await;
    stage.tell().await;
    let key = first_key(&stage);
    redis.owner_of(&key).await.unwrap().has_reached(1).await;
    redis.cut_replica_off(&key).await;
    tells_all_kinds(&mut stage).await;
    redis.kill_owner_of(&key).await;
    redis.wait_for_new_owner_of(&key).await;
    stage.must_balance().await;
    stage.nobody_took_a_turn().await;
    assert_eq!(all_keys(&redis).await, stage.told().len());
}
