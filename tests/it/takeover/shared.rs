//! While its owner lives, a turn can be followed, found and ended from anywhere.

use std::pin::pin;
use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::fleet::{Fleet, ask};
use crate::contract::turnlog::flaky::{FlakyLog, Mood};
use crate::support::{Answer, Client, eventually, says};

/// Longer than an answer takes that is there.
const A_WHILE: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_is_followed_and_resumed_on_another_replica_event_for_event() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.replica("a").await, fleet.replica("b").await);
    a.model.rules([says("guide", ["It ", "was ", "real."]).pausing_after(2)]);
    let mut on_a = a.stream(ask("c", &["guide"])).await;
    let turn = on_a.turn();
    let mut seen = on_a.until("reply.delta").await;
    let mut on_b = b.resume(&turn, "0-0").await;
    assert_eq!(on_b.until("reply.delta").await, seen);
    let resumed = b.resume(&turn, &seen.last().unwrap().id).await;

    a.model.go_on();
    let rest = on_a.rest().await;
    assert_eq!(on_b.rest().await, rest);
    assert_eq!(resumed.rest().await, rest);
    seen.extend(rest);
    assert_eq!(b.log(&turn).await, seen);
    assert_eq!(b.turn(&turn).await, a.turn(&turn).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_is_cancelled_from_another_replica_and_what_was_said_is_kept() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.replica("a").await, fleet.replica("b").await);
    a.model.rules([says("guide", ["It ", "was ", "real."]).pausing_after(2)]);
    let mut on_a = a.stream(ask("c", &["guide"])).await;
    let turn = on_a.turn();
    on_a.until("reply.delta").await;
    on_a.until("reply.delta").await;

    let cancelled = b.post(&format!("/api/v1/turns/{turn}/cancel"), json!({})).await;

    assert_eq!((cancelled.status, &cancelled.body["status"]), (200, &json!("cancelled")), "{cancelled:?}");
    assert_eq!(on_a.rest().await.pop().unwrap().data["reason"], "requested");
    let messages = b.get("/api/v1/conversations/c/messages").await.body;
    assert_eq!(messages["data"][1]["content"], "It was ");
    eventually("the model is no longer asked", async || a.model.stats().in_flight == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_is_busy_and_a_key_is_known_on_every_replica() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.replica("a").await, fleet.replica("b").await);
    a.model.rules([says("guide", ["It ", "was ", "real."]).pausing_after(1)]);
    let with_key = async |replica: &Client, message: &str| {
        let body = json!({"message": message, "personas": ["guide"], "conversation_id": "c"});
        let request = replica.client.post(replica.url("/api/v1/turns")).header("Idempotency-Key", "k-1");
        Answer::of(request.json(&body).send().await.unwrap()).await
    };
    let first = with_key(&a, "was Troy real?").await;
    let turn = first.header("turn-id").to_owned();

    let busy = b.post("/api/v1/turns", ask("c", &["guide"])).await;
    assert_eq!((busy.status, busy.code()), (409, "turn_in_progress"));
    assert_eq!(busy.body["turn_id"], turn);
    assert_eq!(b.get("/api/v1/conversations/c").await.body["active_turn_id"], turn);
    let again = with_key(&b, "was Troy real?").await;
    assert_eq!((again.header("turn-id"), again.header("idempotent-replayed")), (turn.as_str(), "true"));
    assert_eq!(with_key(&b, "was it?").await.code(), "idempotency_key_reused");

    let mut interrupting = ask("c", &["guide"]);
    interrupting["on_busy"] = "interrupt".into();
    assert_eq!(b.post("/api/v1/chat", interrupting).await.body["status"], "completed");
    assert_eq!(b.turn(&turn).await["cancel_reason"], "interrupted");
    assert_eq!(b.model.stats().requests, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_turn_that_moves_to_the_same_replica_is_answered_when_it_has_ended() {
    let log = FlakyLog::new([]);
    let fleet = Fleet::on(log.clone());
    let (a, b) = (fleet.replica("a").await, fleet.replica("b").await);
    a.model.rules([says("guide", ["It ", "was."]).pausing_after(1)]);
    b.model.rules([says("guide", ["It ", "was ", "real."]).pausing_after(1)]);
    let asked = |replica: &Client, path: &str| {
        let request = replica.client.post(replica.url(path)).header("Idempotency-Key", "k-1");
        request.json(&ask("c", &["guide"])).send()
    };
    let begun = Answer::of(asked(&a, "/api/v1/turns").await.unwrap()).await;
    let turn = begun.header("turn-id");
    let waiting = asked(&b, "/api/v1/chat");
    let mut waiting = pin!(async { Answer::of(waiting.await.unwrap()).await });
    assert!(timeout(A_WHILE, waiting.as_mut()).await.is_err(), "it runs elsewhere");

    a.crash();
    eventually("b has the turn", async || b.model.stats().in_flight == 1).await;
    log.is(Mood::EndHeld);
    b.model.go_on();
    eventually("its end is written", async || log.has_ended(turn).await).await;
    assert!(timeout(A_WHILE, waiting.as_mut()).await.is_err(), "answered before its owner knew of the end");
    log.is(Mood::Well);
    let answer = waiting.await;
    assert_eq!((answer.status, &answer.body["status"]), (200, &json!("completed")), "{answer:?}");
    assert_eq!(answer.body["replies"][0]["content"], "It was real.");
}
