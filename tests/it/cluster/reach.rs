//! However Redis is set up, the service reaches it, notices when it is gone and finds it again.

use crate::support::redis::{RedisCluster, RedisServer, Sentinels};
use crate::support::replicas::{Plan, Replica};
use crate::support::{eventually, model};

async fn on(url: &str, settings: &[String]) -> Replica {
    let (model, _) = model().await;
    // Not one of these tests can wait for the half minute after which a circuit is tried again.
    let plan = Plan::on(&model).redis(url).set("redis.breaker.recovery=200ms");
    settings.iter().fold(plan, |plan, setting| plan.set(setting)).start().await
}

async fn is_up(replica: &Replica) {
    eventually("Redis is there", async || replica.metric("redis_up").await == 1.0).await;
}

async fn is_down(replica: &Replica) {
    eventually("Redis is gone", async || replica.metric("redis_up").await == 0.0).await;
}

#[tokio::test]
async fn one_server_is_reached_is_missed_and_found_again() {
    let redis = RedisServer::start().await;
    let replica = on(&redis.url(), &[]).await;
    is_up(&replica).await;
    redis.kill_9();
    is_down(&replica).await;
    assert_eq!(replica.client.get("/readyz").await.status, 200);
    redis.restart().await;
    is_up(&replica).await;
}

#[tokio::test]
async fn a_service_that_starts_without_its_redis_finds_it_later() {
    let redis = RedisServer::start().await;
    redis.kill_9();
    let replica = on(&redis.url(), &[]).await;
    assert_eq!(replica.metric("redis_up").await, 0.0);
    redis.restart().await;
    is_up(&replica).await;
}

#[tokio::test]
async fn a_server_that_asks_who_is_there_is_told() {
    for redis in [RedisServer::builder().password("secret"), RedisServer::builder().user("chat", "secret")] {
        let redis = redis.start().await;
        is_up(&on(&redis.url(), &[]).await).await;
    }
}

#[tokio::test]
async fn a_server_with_tls_is_shown_a_certificate() {
    let redis = RedisServer::builder().tls().start().await;
    let files = redis.certificates();
    let settings = [
        format!("redis.ca_file={}", files.authority().display()),
        format!("redis.cert_file={}", files.client().display()),
        format!("redis.key_file={}", files.client_key().display()),
    ];
    is_up(&on(&redis.url(), &settings).await).await;
}

#[tokio::test]
async fn a_failover_of_sentinels_is_followed() {
    let redis = Sentinels::start().await;
    let replica = on(&redis.url(), &[]).await;
    is_up(&replica).await;
    let old = redis.kill_primary().await;
    is_down(&replica).await;
    redis.wait_for_new_primary(old).await;
    is_up(&replica).await;
}

#[tokio::test]
async fn a_cluster_is_reached() {
    let redis = RedisCluster::start().await;
    is_up(&on(&redis.url(), &[]).await).await;
}
