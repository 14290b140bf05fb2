//! Servers that stand in for each other.

use futures_util::future::join_all;

use crate::support::eventually;
use crate::support::redis::{RedisCluster, RedisServer, Sentinels};

#[tokio::test]
async fn sentinels_name_another_primary_when_theirs_dies_and_take_it_back_as_a_replica() {
    let redis = Sentinels::start().await;
    let first = redis.primary().await;
    first.command(&["SET", "a", "1"]).await;
    first.has_reached(2).await;
    assert!(redis.url().starts_with("redis+sentinel://127.0.0.1:") && redis.url().ends_with("/chat"));

    assert_eq!(redis.kill_primary().await.port, first.port);
    let second = redis.wait_for_new_primary(first).await;

    assert_eq!(second.command(&["GET", "a"]).await, "1");
    first.restart().await;
    eventually("the old one follows", async || first.info("role").await == "slave").await;
}

#[tokio::test]
async fn a_failover_can_lose_the_last_writes() {
    let redis = Sentinels::start().await;
    let first = redis.primary().await;
    first.command(&["SET", "kept", "1"]).await;
    first.has_reached(2).await;

    redis.cut_replicas_off().await;
    first.command(&["SET", "lost", "1"]).await;
    redis.kill_primary().await;
    let second = redis.wait_for_new_primary(first).await;

    assert_eq!(second.keys("*").await, ["kept"]);
}

#[tokio::test]
async fn a_cluster_shares_its_keys_and_stands_still_when_a_third_of_it_is_gone() {
    let redis = RedisCluster::start().await;
    assert_eq!(redis.url().matches("127.0.0.1:").count(), 3);
    let owners = join_all(["{a}", "{b}", "{c}", "{d}", "{e}"].map(|key| redis.owner_of(key))).await;
    let ports: std::collections::BTreeSet<_> = owners.into_iter().flatten().map(|node| node.port).collect();
    assert_eq!(ports.len(), 3);
    let owner = redis.kill_owner_of("{a}").await;
    assert!(redis.owner_of("{a}").await.is_none());
    let others = || redis.nodes().iter().filter(|node| node.port != owner.port);
    let is_down = async |node: &RedisServer| {
        node.ask(&["SET", "{b}", "1"]).await.is_err_and(|error| error.starts_with("CLUSTERDOWN"))
    };
    eventually("no part of it takes writes", async || join_all(others().map(is_down)).await.contains(&true))
        .await;
}

#[tokio::test]
async fn a_cluster_with_replicas_goes_on_without_one_of_its_primaries() {
    let redis = RedisCluster::with_replicas().await;
    let first = redis.owner_of("{a}").await.unwrap();
    first.command(&["SET", "{a}", "1"]).await;
    first.has_reached(1).await;

    redis.kill_owner_of("{a}").await;
    let second = redis.wait_for_new_owner_of("{a}").await;

    assert_ne!(first.port, second.port);
    assert_eq!(second.command(&["GET", "{a}"]).await, "1");
}

#[tokio::test]
async fn a_failover_of_a_cluster_can_lose_the_last_writes() {
    let redis = RedisCluster::with_replicas().await;
    let first = redis.owner_of("{a}").await.unwrap();
    first.command(&["SET", "{a}kept", "1"]).await;
    first.has_reached(1).await;

    redis.cut_replica_off("{a}").await;
    first.command(&["SET", "{a}lost", "1"]).await;
    redis.kill_owner_of("{a}").await;
    let second = redis.wait_for_new_owner_of("{a}").await;

    assert_eq!(second.keys("*").await, ["{a}kept"]);
}
