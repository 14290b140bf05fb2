//! A replica dies in the middle of a turn: another one goes on from the last thing everybody could have seen.

use std::time::Duration;

use serde_json::json;

use super::fleet::{Fleet, Replica, ask, names};
use crate::support::replicas::applied;
use crate::support::{Sse, SseEvent, eventually, says, span};

const BOTH: [&str; 2] = ["historian", "skeptic"];

/// A turn on `owner` in which the historian has finished and the skeptic has said two words; what its reader has seen.
async fn half_answered(owner: &Replica) -> (Sse, String, Vec<SseEvent>) {
    owner
        .model
        .rules([says("historian", ["Yes."]), says("skeptic", ["But ", "which ", "Troy?"]).pausing_after(2)]);
    let mut stream = owner.stream(ask("c", &BOTH)).await;
    let (turn, mut seen) = (stream.turn(), Vec::new());
    let done = |seen: &[SseEvent]| {
        let count = |name: &str, persona: &str| {
            seen.iter().filter(|event| event.name == name && event.data["persona"] == persona).count()
        };
        count("reply.completed", "historian") == 1 && count("reply.delta", "skeptic") == 2
    };
    while !done(&seen) {
        seen.push(stream.next().await.unwrap());
    }
    (stream, turn, seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_finishes_the_turn_and_asks_only_for_what_is_missing() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.replica("a").await, fleet.replica("b").await);
    b.model.rules([says("skeptic", ["Which ", "one?"])]);
    let (stream, turn, seen) = half_answered(&a).await;
    // What somebody on another replica has seen is durable; what the owner showed its own may not be, and that is fine.
    eventually("what was said is in the log", async || {
        b.turn(&turn).await["last_event_id"] == seen.last().unwrap().id
    })
    .await;

    a.crash();
    drop(stream);
    let rest = b.resume(&turn, &seen.last().unwrap().id).await.rest().await;

    let expected =
        ["reply.reset", "reply.started", "reply.delta", "reply.delta", "reply.completed", "turn.completed"];
    assert_eq!(names(&rest), expected);
    assert_eq!(rest[0].data["persona"], "skeptic");
    assert_eq!(rest[0].data["reason"], "takeover");
    let epoch = rest[0].id.strip_suffix("-1").unwrap();
    assert!(epoch.parse::<u64>().unwrap() > 1);
    let ids: Vec<_> = rest.iter().map(|event| event.id.clone()).collect();
    assert_eq!(ids, (1..=rest.len()).map(|seq| format!("{epoch}-{seq}")).collect::<Vec<_>>());

    let log = b.log(&turn).await;
    let client = [seen, rest].concat();
    assert_eq!(client, log, "not a gap, not a double");
    assert_eq!(applied(&client)["historian"]["content"], "Yes.");
    assert_eq!(applied(&client)["skeptic"]["content"], "Which one?");
    assert_eq!((b.takeovers(), b.model.stats().requests), (1, 1), "the historian was not asked again");
    is_remembered_once(&b).await;
}

async fn is_remembered_once(replica: &Replica) {
    let messages = replica.get("/api/v1/conversations/c/messages").await.body;
    let said: Vec<_> =
        messages["data"].as_array().unwrap().iter().map(|message| &message["content"]).collect();
    assert_eq!(said, ["was Troy real?", "Yes.", "Which one?"]);
    assert_eq!(replica.get("/api/v1/conversations/c").await.body.get("active_turn_id"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_saw_more_than_the_log_has_ends_up_with_what_the_log_says() {
    // The tail is lost for certain: no piece of text is written before the crash.
    let fleet = Fleet::with(|config| config.turns.flush_interval = span(60_000));
    let (a, b) = (fleet.replica("a").await, fleet.replica("b").await);
    b.model.rules([says("guide", ["Another ", "answer."])]);
    a.model.rules([says("guide", (0..20).map(|n| format!("{n} "))).pausing_after(15)]);
    let mut stream = a.stream(ask("c", &["guide"])).await;
    let (turn, mut seen) = (stream.turn(), Vec::new());
    while names(&seen).iter().filter(|name| **name == "reply.delta").count() < 15 {
        seen.push(stream.next().await.unwrap());
    }

    a.crash();
    let rest = b.resume(&turn, &seen.last().unwrap().id).await.rest().await;

    assert_eq!(names(&rest)[..2], ["reply.reset", "reply.started"]);
    let log = b.log(&turn).await;
    let client = [seen, rest].concat();
    assert!(log.len() < client.len(), "the client saw what nobody else did");
    assert_eq!(applied(&client), applied(&log));
    assert_eq!(applied(&client)["guide"]["content"], "Another answer.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_had_not_chosen_anybody_yet_is_routed_by_its_next_owner() {
    let fleet = Fleet::with(|config| config.routing.timeout = span(60_000));
    let (a, b) = (fleet.replica("a").await, fleet.replica("b").await);
    a.model.change(|settings| settings.time_to_first_token_ms = 60_000);
    let turn = a.start_turn(json!({"message": "who was Priam?", "conversation_id": "c"})).await;
    eventually("the model is asked who answers", async || a.model.stats().in_flight == 1).await;

    a.crash();
    let ended = b.ended(&turn).await;

    assert_eq!((&ended["status"], &ended["routing"]["source"]), (&json!("completed"), &json!("model")));
    let log = b.log(&turn).await;
    assert_eq!(names(&log)[..2], ["turn.started", "routing.decided"]);
    assert!(!names(&log).contains(&"reply.reset"), "nobody had begun");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_past_its_deadline_gets_its_end_and_is_not_run() {
    let fleet = Fleet::with(|config| config.turns.deadline = span(500));
    let a = fleet.replica("a").await;
    a.model.rules([says("guide", ["It ", "was."]).pausing_after(1)]);
    let mut stream = a.stream(ask("c", &["guide"])).await;
    let turn = stream.turn();
    stream.until("reply.delta").await;
    a.crash();

    let b = fleet.replica("b").await;
    let ended = b.ended(&turn).await;

    assert_eq!(ended["status"], "failed");
    let end = b.log(&turn).await.pop().unwrap();
    assert_eq!((end.name.as_str(), &end.data["error"]["code"]), ("turn.failed", &json!("model_timeout")));
    assert_eq!(b.model.stats().requests, 0);
    assert_eq!(b.get("/api/v1/conversations/c").await.body.get("active_turn_id"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_outlives_three_takeovers_is_given_up() {
    let fleet = Fleet::new();
    let mut owner = fleet.replica("first").await;
    let forever = [says("guide", ["It ", "was."]).pausing_after(1)];
    owner.model.rules(forever.clone());
    let turn = owner.start_turn(ask("c", &["guide"])).await;
    for name in ["second", "third", "fourth"] {
        let next = fleet.replica(name).await;
        next.model.rules(forever.clone());
        owner.crash();
        eventually("somebody goes on with it", async || next.model.stats().in_flight == 1).await;
        assert_eq!(next.takeovers(), 1);
        owner = next;
    }
    let last = fleet.replica("fifth").await;
    owner.crash();
    let ended = last.ended(&turn).await;

    assert_eq!(ended["status"], "failed");
    let end = last.log(&turn).await.pop().unwrap();
    assert_eq!((end.name.as_str(), &end.data["error"]["code"]), ("turn.failed", &json!("internal")));
    assert_eq!(last.model.stats().requests, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_lives_keeps_its_turn_however_long_it_takes() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.replica("a").await, fleet.replica("b").await);
    a.model.rules([says("guide", ["It ", "was."]).pausing_after(1)]);
    let mut stream = a.stream(ask("c", &["guide"])).await;
    stream.until("reply.delta").await;
    // Nothing can be waited for here: the claim is that nothing happens, for three leases.
    tokio::time::sleep(Duration::from_millis(1800)).await;

    a.model.go_on();
    assert_eq!(names(&stream.rest().await), ["reply.delta", "reply.completed", "turn.completed"]);
    assert_eq!(b.takeovers(), 0);
}
