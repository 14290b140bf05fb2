//! What a turn may take: time, room and places.

use polylogue::config::{Bytes, Config};
use polylogue::simulator::{Fault, Rule};
use serde_json::{Value, json};

use super::stage::*;
use crate::support::{TestApp, span};

fn soon_over(config: &mut Config) {
    config.turns.deadline = span(300);
}

#[tokio::test]
async fn a_turn_fails_when_its_deadline_is_reached() {
    let app = TestApp::with(soon_over).await;
    for fault in [Fault::Stall, Fault::StallMidway { after_tokens: 2 }] {
        app.model.rules([Rule::fails(fault)]);
        let events = app.stream(ask("late")).await.rest().await;
        assert_eq!(kinds(&events)[events.len() - 2..], ["reply.failed", "turn.failed"], "{fault:?}");
        let end = &events.last().unwrap().data;
        assert_eq!((text(&end["error"]["code"]), &end["error"]["status"]), ("model_timeout", &json!(504)));
        assert_eq!(app.post(CHAT, ask("late")).await.status, 504);
    }
    until_idle(&app).await;
}

#[tokio::test]
async fn what_was_answered_before_the_deadline_counts() {
    let app = TestApp::with(soon_over).await;
    app.model.rules([fails(GUIDE, Fault::Stall)]);
    let answer = app.post(CHAT, with(ask("late"), json!({"personas": ["guide", "skeptic"]}))).await;
    let replies = &answer.body["replies"];
    assert_eq!((answer.status, text(&answer.body["status"])), (200, "completed"));
    assert_eq!(
        (text(&replies[0]["error"]["code"]), text(&replies[1]["status"])),
        ("model_timeout", "completed")
    );
}

#[tokio::test]
async fn waits_between_attempts_end_at_the_deadline() {
    let app = TestApp::with(soon_over).await;
    app.model.rules([Rule::fails(Fault::ServerError)]);
    let answer = app.post(CHAT, ask("late")).await;
    assert_eq!((answer.status, app.model.stats().requests), (503, 1), "the first wait would not end in time");
}

#[tokio::test]
async fn a_full_replica_refuses_at_once_and_has_room_again_when_a_turn_has_ended() {
    let app = TestApp::with(|config| config.turns.max_concurrent = 1.try_into().unwrap()).await;
    let reader = half_told(&app, ask("first")).await;
    for path in [CHAT, "/api/v1/chat/stream", TURNS] {
        let refused = app.post(path, ask("second")).await;
        assert_eq!((refused.status, refused.code()), (503, "overloaded"), "{path}");
        assert!((1..=3).contains(&refused.header("retry-after").parse::<u64>().unwrap()));
    }
    let mut socket = app.socket().await;
    socket.send(frame("c-1", ask("second"))).await;
    assert_eq!(socket.next().await.unwrap()["error"]["code"], "overloaded");
    assert_eq!(app.metric("turns_rejected_total{reason=\"overloaded\"}"), 4.0);

    app.model.go_on();
    reader.rest().await;
    app.model.rules([]);
    assert_eq!(app.post(CHAT, ask("second")).await.status, 200);
    socket.send(frame("c-2", ask("third"))).await;
    assert_eq!(socket.until("turn.completed").await[0]["ref"], "c-2");
}

#[tokio::test]
async fn a_socket_follows_eight_turns_and_refuses_the_ninth() {
    let app = TestApp::start().await;
    app.model.rules([story()]);
    let mut socket = app.socket().await;
    let most = socket.hello["limits"]["max_turns"].as_u64().unwrap();
    for number in 1..=most {
        socket.send(frame(&format!("c-{number}"), ask(&format!("room-{number}")))).await;
        until_half_on(&mut socket).await;
    }
    socket.send(frame("c-9", ask("room-9"))).await;
    let refused = socket.next().await.unwrap();
    assert_eq!((most, text(&refused["ref"]), text(&refused["error"]["code"])), (8, "c-9", "overloaded"));
    assert_eq!(app.get("/api/v1/conversations/room-9").await.status, 404);

    app.model.go_on();
    for _ in 0..most {
        socket.until("turn.completed").await;
    }
    app.model.rules([]);
    socket.send(frame("c-9", ask("room-9"))).await;
    socket.until("turn.completed").await;
}

/// Ends as turns end, with at least one failed reply because there was no more room.
async fn ends_for_want_of_room(change: impl FnOnce(&mut Config), body: Value) -> Vec<Value> {
    let app = TestApp::with(change).await;
    app.model.change(|settings| settings.tokens = 500.try_into().unwrap());
    let events: Vec<_> = app.stream(body).await.rest().await.into_iter().map(|event| event.data).collect();
    let failed: Vec<_> = events.iter().filter(|event| event["type"] == "reply.failed").collect();
    assert!(!failed.is_empty() && failed.iter().all(|event| event["error"]["code"] == "model_failed"));
    assert_eq!(events.last().unwrap()["type"], "turn.failed");
    let turn = text(&events[0]["turn_id"]);
    let again: Vec<_> = app.resume(turn, "0-0").await.rest().await.into_iter().map(|e| e.data).collect();
    assert_eq!(events, again);
    assert_eq!(read(&app, turn).await["status"], "failed");
    until_idle(&app).await;
    assert_eq!(app.metric("turns_in_flight"), 0.0);
    events
}

fn three(conversation: &str) -> Value {
    with(ask(conversation), json!({"personas": ["guide", "skeptic", "historian"]}))
}

#[tokio::test]
async fn a_turn_with_too_many_events_ends() {
    let few = |config: &mut Config| config.turns.max_events = 50.try_into().unwrap();
    assert!(ends_for_want_of_room(few, ask("long")).await.len() <= 50);
    assert!(ends_for_want_of_room(few, three("long")).await.len() <= 50);
}

#[tokio::test]
async fn a_turn_with_too_many_bytes_ends() {
    let little = |config: &mut Config| config.turns.max_bytes = Bytes(8 * 1024);
    for body in [ask("long"), three("long")] {
        let events = ends_for_want_of_room(little, body).await;
        let bytes: usize = events.iter().map(|event| event.to_string().len()).sum();
        assert!(bytes <= 8 * 1024, "{bytes}");
    }
}

#[tokio::test]
async fn a_turn_ends_also_where_there_is_room_for_next_to_nothing() {
    for most in [2, 4, 6, 8] {
        let app = TestApp::with(|config| config.turns.max_events = most.try_into().unwrap()).await;
        let events = app.stream(three("tiny")).await.rest().await;
        assert_eq!(kinds(&events).last(), Some(&"turn.failed"), "{most}");
    }
}
