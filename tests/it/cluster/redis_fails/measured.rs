//! How long it takes to notice that Redis is away, and that it is back. Said, not judged: a busy machine takes longer.

use tokio::time::Instant;

use super::Stage;
use crate::support::redis::RedisServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_without_redis_is_told() {
    let redis = RedisServer::builder().durable().start().await;
    let url = redis.url();
    let mut stage = Stage::of([&url, &url, &url], 150, &["turns.beat=1s", "turns.lease=10s"]).await;
    stage.tell().await;
    let began = Instant::now();
    redis.kill_9();
    stage.is_degraded().await;
    let noticed = began.elapsed();
    stage.tell_alone().await;
    redis.restart().await;
    let began = Instant::now();
    stage.is_well().await;
    let well = began.elapsed();
    stage.has_logged("turn_restored", 3).await;
    let restored = began.elapsed();
    stage.must_balance().await;
    let answers = stage.watch.must_be_content();
    eprintln!("MEASURED redis killed under load: all replicas degraded after {noticed:?}");
    eprintln!("MEASURED redis back: nothing degraded after {well:?}, turns restored after {restored:?}");
    eprintln!("MEASURED what clients were told meanwhile: {answers:?}");
}
