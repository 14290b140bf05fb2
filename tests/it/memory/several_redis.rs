use super::stand::{Replica, all_say, here};
use crate::support::redis::{RedisCluster, Sentinels};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_failover_dropped_is_written_again() {
    let sentinels = Sentinels::start().await;
    let [ada, bob] = [Replica::start(&sentinels.url()), Replica::start(&sentinels.url())];
    ada.says(1).await;
    all_say(&[&ada, &bob], [1]).await;

    sentinels.cut_replicas_off().await;
    ada.says(2).await;
    assert_eq!(ada.unconfirmed(), 0);
    let old = sentinels.kill_primary().await;
    bob.says(3).await;
    sentinels.wait_for_new_primary(old).await;
    all_say(&[&bob, &ada], 1..=3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_lost_a_primary_and_its_last_writes_has_them_again() {
    let cluster = RedisCluster::with_replicas().await;
    let [ada, bob] = [Replica::start(&cluster.url()), Replica::start(&cluster.url())];
    let key = ada.redis.keys().conversation(&here());
    ada.says(1).await;
    all_say(&[&ada, &bob], [1]).await;

    cluster.cut_replica_off(&key).await;
    ada.says(2).await;
    cluster.kill_owner_of(&key).await;
    bob.says(3).await;
    cluster.wait_for_new_owner_of(&key).await;
    all_say(&[&ada, &bob], 1..=3).await;
}
