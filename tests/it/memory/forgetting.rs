use polylogue::memory::{Memory as _, Written};
use polylogue::telemetry::metrics::Backend;

use super::stand::{Replica, all_say, here, said};
use crate::support::eventually;
use crate::support::redis::RedisServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_forgotten_in_an_outage_stays_forgotten_whoever_still_holds_it() {
    let server = RedisServer::builder().durable().start().await;
    let [ada, bob] = [Replica::start(&server.url()), Replica::start(&server.url())];
    ada.says(1).await;
    all_say(&[&ada, &bob], [1]).await;

    server.kill_9();
    bob.says(2).await;
    ada.forgets(3).await;
    assert!(ada.texts().await.unwrap().is_empty());
    bob.says(4).await;
    assert_eq!(bob.texts().await.unwrap(), ["1", "2", "4"], "it cannot know");

    server.restart().await;
    all_say(&[&ada, &bob], [4]).await;
    bob.has_caught_up().await;
    all_say(&[&ada, &bob, &Replica::start(&server.url())], [4]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_forgotten_stays_forgotten_although_redis_forgets_that_too() {
    let server = RedisServer::start().await;
    let [ada, bob] = [Replica::start(&server.url()), Replica::start(&server.url())];
    ada.says(1).await;
    all_say(&[&ada, &bob], [1]).await;
    ada.forgets(2).await;

    server.restart_empty().await;
    bob.redis.health().lost();
    eventually("bob has brought back what he has", async || server.keys("*conv:*").await.len() == 1).await;
    ada.redis.health().lost();
    all_say(&[&ada, &bob, &Replica::start(&server.url())], []).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_hear_of_a_forgetting_and_keep_its_mark() {
    let server = RedisServer::start().await;
    let [ada, bob] = [Replica::start(&server.url()), Replica::start(&server.url())];
    ada.says(1).await;
    all_say(&[&ada, &bob], [1]).await;
    let kept = || bob.metrics.memory.conversations.get(&(Backend::Local,));
    assert_eq!(kept(), 1);
    ada.forgets(2).await;
    eventually("bob's copy is gone", async || kept() == 0).await;

    ada.stop().await;
    server.restart_empty().await;
    bob.redis.health().lost();
    eventually("bob's mark is there", async || server.keys("*conv:*").await.len() == 1).await;
    let late = Replica::start(&server.url());
    let written = late.memory.add(&here(), &[said(1)]).await.unwrap();
    assert_eq!(written, Written::Cleared);
}
