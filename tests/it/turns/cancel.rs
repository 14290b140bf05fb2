//! Ending a turn before its time.

use polylogue::simulator::{Fault, Rule};
use serde_json::{Value, json};

use super::stage::*;
use crate::support::{TestApp, eventually};

async fn cancel(app: &TestApp, turn: &str) -> crate::support::Answer {
    app.post(&format!("{TURNS}/{turn}/cancel"), json!({})).await
}

#[tokio::test]
async fn a_cancel_is_answered_with_the_ended_turn_and_what_was_said_is_kept() {
    let app = TestApp::start().await;
    let reader = half_told(&app, ask("story")).await;
    let answer = cancel(&app, &reader.turn()).await;
    assert_eq!(answer.status, 200);
    let turn = answer.body;
    assert_eq!((text(&turn["status"]), text(&turn["cancel_reason"])), ("cancelled", "requested"));
    assert_eq!(turn["replies"][0]["status"], "cancelled");
    assert_eq!(turn["replies"][0]["content"], BEGINNING);

    let events = reader.rest().await;
    assert_eq!(kinds(&events), ["reply.cancelled", "turn.cancelled"]);
    assert_eq!(events[1].data["reason"], "requested");
    assert_eq!(events[0].data["message_id"], turn["replies"][0]["message_id"]);
    let said = said(&app, "story").await;
    assert_eq!(said[1], ("guide".to_owned(), BEGINNING.to_owned(), true));
}

#[tokio::test]
async fn a_cancel_ends_the_upstream_request() {
    let app = TestApp::start().await;
    let reader = half_told(&app, ask("story")).await;
    assert_eq!(app.model.stats().in_flight, 1);
    cancel(&app, &reader.turn()).await;
    until_idle(&app).await;
    assert_eq!(app.model.stats().cancelled, 1);
    assert_eq!(app.metric("breaker_consecutive_failures{breaker=\"simulator\"}"), 0.0);
}

#[tokio::test]
async fn a_waiting_caller_of_a_cancelled_turn_gets_200() {
    let app = TestApp::start().await;
    app.model.rules([story()]);
    let post = app.post(CHAT, ask("story"));
    let cancelling = async {
        let mut turn = Value::Null;
        eventually("the turn runs", async || {
            turn = app.get("/api/v1/conversations/story").await.body["active_turn_id"].clone();
            !turn.is_null()
        })
        .await;
        until_said(&app, text(&turn), BEGINNING).await;
        cancel(&app, text(&turn)).await
    };
    let (answer, cancelled) = tokio::join!(post, cancelling);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, cancelled.body);
    assert_eq!(answer.body["status"], "cancelled");
}

#[tokio::test]
async fn a_cancel_may_be_repeated_and_comes_too_late_for_an_ended_turn() {
    let app = TestApp::start().await;
    let cancelled = half_told(&app, ask("story")).await.turn();
    let first = cancel(&app, &cancelled).await;
    let second = cancel(&app, &cancelled).await;
    assert_eq!((second.status, &second.body), (200, &first.body));

    app.model.rules([]);
    let completed = app.post(CHAT, ask("story")).await.body;
    let late = cancel(&app, text(&completed["turn_id"])).await;
    assert_eq!((late.status, &late.body), (200, &completed));
    assert_eq!(late.body["status"], "completed");
}

#[tokio::test]
async fn a_cancel_of_an_unknown_turn_is_404() {
    let app = TestApp::start().await;
    for turn in ["01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2", "nonsense"] {
        let answer = cancel(&app, turn).await;
        assert_eq!((answer.status, answer.code()), (404, "turn_not_found"), "{turn}");
    }
}

#[tokio::test]
async fn a_socket_is_told_that_its_cancel_takes_effect() {
    let app = TestApp::start().await;
    app.model.rules([story()]);
    let mut socket = app.socket().await;
    socket.send(frame("c-1", ask("story"))).await;
    let turn = until_half_on(&mut socket).await[0]["turn_id"].clone();
    socket.send(json!({"type": "cancel", "ref": "c-2", "turn_id": turn})).await;

    let mut seen = Vec::new();
    let found = |seen: &[Value], kind: &str| seen.iter().find(|frame| frame["type"] == kind).cloned();
    while found(&seen, "cancelling").is_none() || found(&seen, "turn.cancelled").is_none() {
        seen.push(socket.next().await.unwrap());
    }
    let cancelling = found(&seen, "cancelling").unwrap();
    assert_eq!((&cancelling["ref"], &cancelling["turn_id"]), (&json!("c-2"), &turn));
    assert!(["running", "cancelled"].contains(&text(&cancelling["status"])));
    let end = found(&seen, "turn.cancelled").unwrap();
    assert_eq!((text(&end["ref"]), text(&end["reason"])), ("c-1", "requested"));

    socket.send(json!({"type": "cancel", "ref": "c-3", "turn_id": "01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2"})).await;
    let unknown = socket.next().await.unwrap();
    assert_eq!((text(&unknown["ref"]), text(&unknown["error"]["code"])), ("c-3", "turn_not_found"));
}

#[tokio::test]
async fn a_turn_that_has_said_nothing_yet_can_be_cancelled_and_leaves_only_the_question() {
    let app = TestApp::start().await;
    app.model.rules([Rule::fails(Fault::Stall)]);
    let mut stream = app.stream(ask("silent")).await;
    stream.until("reply.started").await;
    let turn = cancel(&app, &stream.turn()).await.body;
    assert_eq!(turn["replies"][0]["status"], "cancelled");
    assert_eq!(turn["replies"][0].get("message_id"), None);
    assert_eq!(said(&app, "silent").await.len(), 1);
    until_idle(&app).await;
}

#[tokio::test]
async fn a_turn_can_be_cancelled_while_the_model_chooses_who_answers() {
    let app = TestApp::with(|config| config.routing.timeout = crate::support::span(60_000)).await;
    app.model.rules([Rule::fails(Fault::Stall)]);
    let mut stream = app.stream(json!({"message": "who knows?"})).await;
    stream.until("turn.started").await;
    let answer = cancel(&app, &stream.turn()).await;
    assert_eq!((answer.status, text(&answer.body["status"])), (200, "cancelled"));
    assert_eq!(answer.body["replies"], json!([]));
    assert_eq!(kinds(&stream.rest().await), ["turn.cancelled"]);
    until_idle(&app).await;
}

#[tokio::test]
async fn replies_that_ended_before_a_cancel_stay_completed() {
    let app = TestApp::start().await;
    app.model.rules([story().when_contains(GUIDE), Rule::says(["Is ", "it?"]).when_contains(SKEPTIC)]);
    let mut stream = app.stream(with(ask("both"), json!({"personas": ["guide", "skeptic"]}))).await;
    stream.until("reply.completed").await;
    until_said(&app, &stream.turn(), BEGINNING).await;
    let turn = cancel(&app, &stream.turn()).await.body;
    assert_eq!(turn["status"], "cancelled");
    let of =
        |place: usize| (text(&turn["replies"][place]["persona"]), text(&turn["replies"][place]["status"]));
    assert_eq!([of(0), of(1)], [("guide", "cancelled"), ("skeptic", "completed")]);
    let said = said(&app, "both").await;
    assert_eq!(
        said[1..],
        [
            ("guide".to_owned(), BEGINNING.to_owned(), true),
            ("skeptic".to_owned(), "Is it?".to_owned(), false)
        ]
    );
}
