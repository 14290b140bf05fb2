//! The same request twice is the same turn.

use serde_json::{Value, json};

use super::stage::*;
use crate::support::{Answer, Sse, TestApp};

const KEY: &str = "Idempotency-Key";
const STREAM: &str = "/api/v1/chat/stream";

async fn stream_with(app: &TestApp, key: &str, body: &Value) -> Sse {
    Sse::of(app.client.post(app.url(STREAM)).header(KEY, key).json(body).send().await.unwrap())
}

fn is_replay(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == "true"
}

#[tokio::test]
async fn the_same_key_and_body_find_the_same_turn_through_every_door() {
    let app = TestApp::start().await;
    let body = ask("once");
    let first = app.post_with(CHAT, &[(KEY, "k-1")], &body).await;
    assert_eq!((first.status, is_replay(&first)), (200, false));

    let again = app.post_with(CHAT, &[(KEY, "k-1")], &body).await;
    assert_eq!((again.status, is_replay(&again), &again.body), (200, true, &first.body));
    assert_eq!(again.header("location"), first.header("location"));
    let accepted = app.post_with(TURNS, &[(KEY, "k-1")], &body).await;
    assert_eq!((accepted.status, is_replay(&accepted)), (202, true));
    assert_eq!(accepted.header("turn-id"), first.header("turn-id"));
    let stream = stream_with(&app, "k-1", &body).await;
    assert_eq!((stream.status, &stream.headers["idempotent-replayed"]), (200, &"true".parse().unwrap()));
    assert_eq!(stream.turn(), first.header("turn-id"));
    let events = stream.rest().await;
    assert_eq!((events[0].id.as_str(), kinds(&events)[0]), ("1-1", "turn.started"));
    assert_eq!(kinds(&events).last(), Some(&"turn.completed"));

    assert_eq!(app.model.stats().requests, 1, "the model was asked once");
    assert_eq!(said(&app, "once").await.len(), 2);
    assert_eq!(app.metric("idempotency_requests_total{outcome=\"first\"}"), 1.0);
    assert_eq!(app.metric("idempotency_requests_total{outcome=\"replayed\"}"), 3.0);
}

#[tokio::test]
async fn a_repeated_request_attaches_to_the_running_turn() {
    let app = TestApp::start().await;
    app.model.rules([story()]);
    let mut first = stream_with(&app, "k-1", &ask("once")).await;
    until_half(&mut first).await;
    let body = ask("once");
    let (again, ()) = tokio::join!(app.post_with(CHAT, &[(KEY, "k-1")], &body), async {
        let mut second = stream_with(&app, "k-1", &ask("once")).await;
        assert_eq!(until_half(&mut second).await[0].id, "1-1");
        app.model.go_on();
        assert_eq!(kinds(&second.rest().await).last(), Some(&"turn.completed"));
    });
    assert_eq!((again.status, text(&again.body["replies"][0]["content"])), (200, "Once upon a time."));
    assert_eq!(again.header("turn-id"), first.turn());
    assert_eq!(kinds(&first.rest().await).last(), Some(&"turn.completed"));
}

#[tokio::test]
async fn another_body_with_the_same_key_is_refused() {
    let app = TestApp::start().await;
    app.post_with(CHAT, &[(KEY, "k-1")], &ask("once")).await;
    for path in [CHAT, STREAM, TURNS] {
        let other =
            app.post_with(path, &[(KEY, "k-1")], &with(ask("once"), json!({"message": "else"}))).await;
        assert_eq!((other.status, other.code()), (422, "idempotency_key_reused"), "{path}");
    }
    assert_eq!(app.metric("turns_rejected_total{reason=\"idempotency_key_reused\"}"), 3.0);
}

#[tokio::test]
async fn a_key_is_the_same_quoted_or_not_and_a_body_the_same_however_it_is_spelled() {
    let app = TestApp::start().await;
    let first = app.post_with(CHAT, &[(KEY, "k-1")], &ask("once")).await;
    let spelled = r#"{ "personas":["guide"],   "on_busy":"reject", "conversation_id":"once","message":"tell me a \u0073tory"}"#;
    let request = app.client.post(app.url(CHAT)).header(KEY, "\"k-1\"");
    let request = request.header("content-type", "application/json").body(spelled);
    let again = Answer::of(request.send().await.unwrap()).await;
    assert_eq!((again.status, is_replay(&again), &again.body), (200, true, &first.body), "{again:?}");
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_by_its_header() {
    let app = TestApp::start().await;
    for key in ["", "\"\"", "with space", &"k".repeat(256)] {
        let refused = app.post_with(CHAT, &[(KEY, key)], &ask("once")).await;
        assert_eq!((refused.status, refused.code()), (400, "invalid_request"), "{key}");
        assert_eq!(refused.body["errors"][0]["header"], KEY);
    }
    let longest = "k".repeat(255);
    assert_eq!(app.post_with(CHAT, &[(KEY, &longest)], &ask("once")).await.status, 200);
}

#[tokio::test]
async fn a_refusal_before_there_is_a_turn_uses_no_key_up() {
    let app = TestApp::start().await;
    let reader = half_told(&app, ask("busy")).await;
    assert_eq!(app.post_with(CHAT, &[(KEY, "k-1")], &ask("busy")).await.status, 409);
    let stranger = with(ask("free"), json!({"personas": ["nobody"]}));
    assert_eq!(app.post_with(CHAT, &[(KEY, "k-2")], &stranger).await.code(), "unknown_persona");
    assert_eq!(app.post_with(CHAT, &[(KEY, "k-3")], &json!({"message": ""})).await.code(), "invalid_request");

    app.model.go_on();
    reader.rest().await;
    app.model.rules([]);
    for (key, body) in [("k-1", ask("busy")), ("k-2", ask("free")), ("k-3", ask("new"))] {
        let answer = app.post_with(CHAT, &[(KEY, key)], &body).await;
        assert_eq!((answer.status, is_replay(&answer)), (200, false), "{key}: {answer:?}");
    }
}

#[tokio::test]
async fn requests_that_race_with_one_key_run_one_turn() {
    let app = TestApp::start().await;
    let body = json!({"message": "who was first?", "personas": ["guide"]});
    let race = (0..10).map(|_| app.post_with(CHAT, &[(KEY, "k-1")], &body));
    let answers = futures_util::future::join_all(race).await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body));
    assert_eq!(answers.iter().filter(|answer| !is_replay(answer)).count(), 1);
    assert_eq!(app.model.stats().requests, 1);
}

#[tokio::test]
async fn the_reference_of_a_chat_frame_finds_its_turn_on_another_socket_too() {
    let app = TestApp::start().await;
    let mut first = app.socket().await;
    first.send(frame("c-1", ask("once"))).await;
    let told = first.until("turn.completed").await;
    let mut second = app.socket().await;
    for socket in [&mut first, &mut second] {
        socket.send(frame("c-1", ask("once"))).await;
        assert_eq!(socket.until("turn.completed").await, told);
    }
    second.send(frame("c-1", ask("other"))).await;
    let reused = second.next().await.unwrap();
    assert_eq!((text(&reused["ref"]), text(&reused["error"]["code"])), ("c-1", "idempotency_key_reused"));
    assert_eq!(app.model.stats().requests, 1);
}

#[tokio::test]
async fn a_key_spelled_like_a_reference_is_not_that_reference() {
    let app = TestApp::start().await;
    let mut socket = app.socket().await;
    socket.send(frame("c-1", ask("once"))).await;
    socket.until("turn.completed").await;
    for key in ["c-1", "ref:c-1"] {
        let answer = app.post_with(CHAT, &[(KEY, key)], &ask("once")).await;
        assert_eq!((answer.status, is_replay(&answer)), (200, false), "{key}");
    }
}

#[tokio::test]
async fn a_failed_turn_is_found_again_with_its_failure() {
    let app = TestApp::with(without_retries).await;
    app.model.rules([fails(GUIDE, polylogue::simulator::Fault::ServerError)]);
    let first = app.post_with(CHAT, &[(KEY, "k-1")], &ask("once")).await;
    let again = app.post_with(CHAT, &[(KEY, "k-1")], &ask("once")).await;
    assert_eq!((first.status, again.status, is_replay(&again)), (503, 503, true));
    assert_eq!(again.header("turn-id"), first.header("turn-id"));
}

#[tokio::test]
async fn a_key_finds_its_turn_also_when_there_is_no_room_for_another() {
    let app = TestApp::with(|config| config.turns.max_concurrent = 1.try_into().unwrap()).await;
    app.model.rules([story()]);
    let mut first = stream_with(&app, "k-1", &ask("once")).await;
    until_half(&mut first).await;
    let again = app.post_with(TURNS, &[(KEY, "k-1")], &ask("once")).await;
    assert_eq!((again.status, again.header("turn-id")), (202, first.turn().as_str()), "{again:?}");
}
