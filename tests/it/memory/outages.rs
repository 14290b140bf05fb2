use std::time::Duration;

use polylogue::memory::Memory as _;
use polylogue::words::{ConversationKey, Role};
use tokio::time::{Instant, timeout};

use super::stand::{Replica, all_say, here, message, said, turn};
use crate::support::redis::{Mode, Proxy, RedisServer};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_said_while_redis_was_dead_is_one_conversation_afterwards() {
    let server = RedisServer::builder().durable().start().await;
    let [ada, bob] = [Replica::start(&server.url()), Replica::start(&server.url())];
    ada.says(0).await;
    all_say(&[&ada, &bob], [0]).await;

    server.kill_9();
    for n in (1..=9).step_by(2) {
        ada.says(n).await;
        bob.says(n + 1).await;
    }
    assert_eq!(ada.texts().await.unwrap(), ["0", "1", "3", "5", "7", "9"]);
    assert_eq!((ada.unconfirmed(), bob.unconfirmed()), (5, 5));

    server.restart().await;
    all_say(&[&ada, &bob], 0..=10).await;
    ada.has_caught_up().await;
    bob.has_caught_up().await;
    assert_eq!(ada.metrics.memory.unconfirmed_dropped.get(&()), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_lost_everything_is_given_it_back() {
    let server = RedisServer::start().await;
    let [ada, bob] = [Replica::start(&server.url()), Replica::start(&server.url())];
    let elsewhere: ConversationKey = "team-43".parse().unwrap();
    ada.says(1).await;
    ada.says_in(&elsewhere, 7).await;
    bob.says(2).await;

    server.restart_empty().await;
    bob.says(3).await;
    ada.redis.health().lost();
    bob.redis.health().lost();

    all_say(&[&ada, &bob], 1..=3).await;
    let late = Replica::start(&server.url());
    all_say(&[&late], 1..=3).await;
    assert_eq!(late.texts_in(&elsewhere).await.unwrap(), ["7"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_stands_still_keeps_nobody_waiting_for_long() {
    let server = RedisServer::start().await;
    let [ada, bob] = [Replica::start(&server.url()), Replica::start(&server.url())];
    ada.says(1).await;
    all_say(&[&ada, &bob], [1]).await;

    server.pause();
    let began = Instant::now();
    for n in 2..=5 {
        ada.says(n).await;
        bob.says(n + 10).await;
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(bob.texts().await.unwrap(), ["1", "12", "13", "14", "15"]);

    server.go_on();
    all_say(&[&ada, &bob], (1..=5).chain(12..=15)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_never_saw_redis_shares_what_was_said_when_it_comes() {
    let server = RedisServer::start().await;
    server.kill_9();
    let ada = Replica::start(&server.url());
    assert!(ada.texts().await.is_none(), "nobody can know");
    ada.says(1).await;
    ada.says(2).await;
    assert_eq!(ada.texts().await.unwrap(), ["1", "2"]);

    server.restart().await;
    ada.has_caught_up().await;
    all_say(&[&Replica::start(&server.url())], [1, 2]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_answer_was_lost_is_there_once() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server.address()).await;
    let [ada, bob] = [Replica::start(&server.url_by(&proxy.address())), Replica::start(&server.url())];
    ada.says(1).await;
    proxy.set(Mode::CutNextAnswer { after: 0 });
    ada.memory.add(&here(), &[said(2)]).await.unwrap();
    proxy.set(Mode::Mute);
    ada.memory.add(&here(), &[said(3)]).await.unwrap();
    proxy.set(Mode::Pass);
    ada.has_caught_up().await;
    all_say(&[&ada, &bob], 1..=3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_takes_nothing_more_loses_nothing() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server.address()).await;
    let ada = Replica::start(&server.url_by(&proxy.address()));
    ada.says(1).await;
    for (n, error) in [(2, "OOM command not allowed"), (3, "READONLY no writes"), (4, "LOADING wait")] {
        proxy.set(Mode::Say(error.to_owned()));
        ada.says(n).await;
        assert!(ada.unconfirmed() > 0, "{error}");
        assert!(ada.texts().await.unwrap().contains(&n.to_string()));
    }
    proxy.set(Mode::Pass);
    ada.has_caught_up().await;
    all_say(&[&ada, &Replica::start(&server.url())], 1..=4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_turn_answered_by_two_in_an_outage_one_version_is_kept_and_counted() {
    let server = RedisServer::start().await;
    let [ada, bob] = [Replica::start(&server.url()), Replica::start(&server.url())];
    ada.says(1).await;
    all_say(&[&ada, &bob], [1]).await;
    server.kill_9();
    for (replica, text) in [(&ada, "yes"), (&bob, "no")] {
        let reply = |nth| message(turn(1).reply_message(nth), Role::Assistant, text);
        replica.memory.merge(&here(), &[said(1), reply(0), reply(1)]).await.unwrap();
    }
    server.restart().await;
    ada.has_caught_up().await;
    bob.has_caught_up().await;
    let texts = ada.texts().await.unwrap();
    assert!(texts == ["1", "yes", "yes"] || texts == ["1", "no", "no"], "{texts:?}");
    assert_eq!(bob.texts().await.unwrap(), texts);
    let counted = [&ada, &bob].map(|replica| replica.metrics.memory.conflicts.get(&()));
    assert_eq!(counted.iter().sum::<u64>(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_that_waited_is_shared_soon_and_callers_get_between() {
    const CONVERSATIONS: u64 = 2_000;
    let server = RedisServer::start().await;
    let ada = Replica::start(&server.url());
    server.kill_9();
    let id = |n: u64| format!("c{n}").parse::<ConversationKey>().unwrap();
    for n in 0..CONVERSATIONS {
        ada.says_in(&id(n), n).await;
    }
    server.restart().await;
    let began = Instant::now();
    let caught_up = ada.has_caught_up();
    tokio::pin!(caught_up);
    let mut longest = Duration::ZERO;
    while timeout(Duration::from_millis(1), &mut caught_up).await.is_err() {
        let asked = Instant::now();
        ada.says_in(&id(CONVERSATIONS), asked.duration_since(began).as_micros() as u64).await;
        longest = longest.max(asked.elapsed());
    }
    let took = began.elapsed();
    eprintln!("{CONVERSATIONS} conversations in {took:?}; callers waited for {longest:?} at most");
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    assert_eq!(server.keys("*conv:*").await.len() as u64, CONVERSATIONS + 1);
}
