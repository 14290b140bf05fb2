//! One turn at a time per conversation.

use serde_json::json;

use super::stage::*;
use crate::support::TestApp;

#[tokio::test]
async fn a_busy_conversation_refuses_another_message_and_names_the_running_turn() {
    let app = TestApp::start().await;
    let turn = half_told(&app, ask("busy")).await.turn();
    for path in [CHAT, "/api/v1/chat/stream", TURNS] {
        let refused = app.post(path, ask("busy")).await;
        assert_eq!((refused.status, refused.code()), (409, "turn_in_progress"), "{path}");
        assert_eq!(refused.body["turn_id"], turn.as_str());
        assert_eq!(refused.header("problem-code"), "turn_in_progress");
        assert_eq!(refused.header("content-type"), "application/problem+json");
    }
    assert_eq!(app.metric("turns_rejected_total{reason=\"busy\"}"), 3.0);
}

#[tokio::test]
async fn a_socket_is_told_that_the_conversation_is_busy_and_goes_on() {
    let app = TestApp::start().await;
    let turn = half_told(&app, ask("busy")).await.turn();
    let mut socket = app.socket().await;
    socket.send(frame("c-1", ask("busy"))).await;
    let refused = socket.next().await.unwrap();
    assert_eq!((text(&refused["type"]), text(&refused["ref"])), ("error", "c-1"));
    assert_eq!(refused["error"]["code"], "turn_in_progress");
    assert_eq!(refused["error"]["turn_id"], turn.as_str());

    app.model.rules([]);
    socket.send(frame("c-2", ask("free"))).await;
    assert_eq!(socket.until("turn.completed").await[0]["ref"], "c-2");
}

#[tokio::test]
async fn another_conversation_is_not_held_up() {
    let app = TestApp::start().await;
    let _reader = half_told(&app, ask("busy")).await;
    app.model.rules([]);
    assert_eq!(app.post(CHAT, ask("free")).await.status, 200);
}

#[tokio::test]
async fn a_message_that_interrupts_ends_the_running_turn_and_keeps_what_was_said() {
    let app = TestApp::start().await;
    let reader = half_told(&app, ask("busy")).await;
    let interrupted = reader.turn();
    app.model.rules([]);
    let answer = app.post(CHAT, with(ask("busy"), json!({"on_busy": "interrupt"}))).await;
    assert_eq!((answer.status, text(&answer.body["status"])), (200, "completed"));
    assert_eq!(answer.body["conversation"], json!({"id": "busy", "created": false}));

    let events = reader.rest().await;
    assert_eq!(kinds(&events), ["reply.cancelled", "turn.cancelled"]);
    assert_eq!(events[0].data["content"], BEGINNING);
    assert_eq!(events[1].data["reason"], "interrupted");
    let turn = read(&app, &interrupted).await;
    assert_eq!((text(&turn["status"]), text(&turn["cancel_reason"])), ("cancelled", "interrupted"));

    let said = said(&app, "busy").await;
    let who: Vec<_> = said.iter().map(|(who, _, cancelled)| (who.as_str(), *cancelled)).collect();
    assert_eq!(who, [("user", false), ("guide", true), ("user", false), ("guide", false)]);
    assert_eq!(said[1].1, BEGINNING);
}

#[tokio::test]
async fn a_socket_may_interrupt_its_own_turn_and_sees_both_ends() {
    let app = TestApp::start().await;
    app.model.rules([story()]);
    let mut socket = app.socket().await;
    socket.send(frame("c-1", ask("busy"))).await;
    until_half_on(&mut socket).await;
    app.model.rules([]);
    socket.send(frame("c-2", with(ask("busy"), json!({"on_busy": "interrupt"})))).await;
    let seen = socket.until("turn.completed").await;
    let of = |reference: &str, kind: &str| {
        seen.iter().position(|frame| frame["ref"] == reference && frame["type"] == kind).unwrap()
    };
    assert_eq!(seen[of("c-1", "turn.cancelled")]["reason"], "interrupted");
    assert!(of("c-2", "turn.completed") > of("c-2", "turn.started"));
}

#[tokio::test]
async fn a_message_that_may_interrupt_but_finds_nothing_running_just_runs() {
    let app = TestApp::start().await;
    for _ in 0..3 {
        let answer = app.post(CHAT, with(ask("calm"), json!({"on_busy": "interrupt"}))).await;
        assert_eq!((answer.status, text(&answer.body["status"])), (200, "completed"));
    }
    assert_eq!(said(&app, "calm").await.len(), 6);
}
