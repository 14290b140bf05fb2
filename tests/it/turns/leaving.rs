//! Clients that go away: the turn is the server's.

use polylogue::config::{Config, OnDisconnect};
use serde_json::json;
use tokio::time::Instant;

use super::stage::*;
use crate::support::{SlowMemory, TestApp, eventually};

const STORY: &str = "Once upon a time.";

/// The turn that was left goes on and is remembered.
async fn is_told_to_its_end(app: &TestApp, turn: &str, conversation: &str) {
    app.model.go_on();
    let turn = ended(app, turn).await;
    assert_eq!((text(&turn["status"]), text(&turn["replies"][0]["content"])), ("completed", STORY));
    assert_eq!(said(app, conversation).await[1].1, STORY);
    assert_eq!(app.model.stats().cancelled, 0);
}

#[tokio::test]
async fn a_turn_goes_on_when_its_streaming_client_leaves() {
    let app = TestApp::start().await;
    let reader = half_told(&app, ask("left")).await;
    let turn = reader.turn();
    drop(reader);
    eventually("the stream is closed", async || {
        app.metric("sse_streams_closed_total{reason=\"client_gone\"}") == 1.0
    })
    .await;
    is_told_to_its_end(&app, &turn, "left").await;
}

#[tokio::test]
async fn a_turn_goes_on_when_its_waiting_client_leaves() {
    let app = TestApp::start().await;
    app.model.rules([story()]);
    let turn = leave_while_waiting(&app).await;
    is_told_to_its_end(&app, &turn, "left").await;
}

/// A client sends this and goes away while the memory is being written; the server has noticed.
async fn leave_while_writing(app: &TestApp, memory: &SlowMemory, request: reqwest::RequestBuilder) {
    tokio::select! {
        answered = request.send() => panic!("answered before it was written: {answered:?}"),
        () = memory.is_waited_for() => {}
    }
    eventually("the client is gone", async || app.metric("http_requests_in_flight") == 0.0).await;
}

#[tokio::test]
async fn a_turn_runs_although_its_client_left_before_it_was_answered() {
    let (app, memory) = TestApp::with_slow_memory().await;
    leave_while_writing(&app, &memory, app.client.post(app.url(TURNS)).json(&ask("left"))).await;
    memory.let_pass(2);
    eventually("the answer is remembered", async || {
        let messages = app.get("/api/v1/conversations/left/messages").await.body;
        messages["data"].as_array().is_some_and(|said| said.len() == 2)
    })
    .await;
}

#[tokio::test]
async fn a_conversation_is_forgotten_although_its_client_left_before_it_was_answered() {
    let (app, memory) = TestApp::with_slow_memory().await;
    let path = "/api/v1/conversations/left";
    memory.let_pass(1);
    app.post(&format!("{path}/messages"), json!({"role": "user", "content": "forget me"})).await;
    memory.is_waited_for().await;

    leave_while_writing(&app, &memory, app.client.delete(app.url(path))).await;
    assert_eq!(app.get(path).await.status, 200);
    memory.let_pass(1);
    eventually("it is forgotten", async || app.get(path).await.status == 404).await;
}

/// A JSON client asks and goes away in the middle of the answer; answers the turn.
async fn leave_while_waiting(app: &TestApp) -> String {
    let request = app.client.post(app.url(CHAT)).json(&ask("left")).send();
    let mut turn = String::new();
    tokio::select! {
        answered = request => panic!("answered before its end: {answered:?}"),
        () = eventually("the turn runs", async || {
            let view = app.get("/api/v1/conversations/left").await.body;
            turn = view["active_turn_id"].as_str().unwrap_or_default().to_owned();
            !turn.is_empty()
        }) => {}
    }
    until_said(app, &turn, BEGINNING).await;
    turn
}

#[tokio::test]
async fn a_turn_goes_on_when_its_socket_is_closed() {
    let app = TestApp::start().await;
    app.model.rules([story()]);
    let mut socket = app.socket().await;
    socket.send(frame("c-1", ask("left"))).await;
    let turn = text(&until_half_on(&mut socket).await[0]["turn_id"]).to_owned();
    drop(socket);
    eventually("the socket is gone", async || app.metric("websocket_connections") == 0.0).await;
    is_told_to_its_end(&app, &turn, "left").await;
}

#[tokio::test]
async fn a_client_that_leaves_comes_back_to_the_whole_answer() {
    let app = TestApp::start().await;
    app.model.rules([story()]);
    let mut socket = app.socket().await;
    socket.send(frame("c-1", ask("left"))).await;
    let seen = until_half_on(&mut socket).await;
    drop(socket);
    app.model.go_on();

    let last = seen.last().unwrap();
    let mut again = app.socket().await;
    again
        .send(json!({"type": "resume", "ref": "c-9", "turn_id": last["turn_id"], "after": last["id"]}))
        .await;
    let rest = again.until("turn.completed").await;
    let all: Vec<_> = seen.iter().chain(&rest).collect();
    for (place, event) in all.iter().enumerate() {
        assert_eq!(event["id"], format!("1-{}", place + 1), "no gaps, no doubles");
    }
    let told: String = all.iter().filter_map(|event| event["text"].as_str()).collect();
    assert_eq!(told, STORY);
    assert!(rest.iter().all(|event| event["ref"] == "c-9"));
}

fn cancels_what_is_left(config: &mut Config) {
    config.turns.on_disconnect = OnDisconnect::Cancel;
}

#[tokio::test]
async fn where_the_setting_says_so_a_turn_without_readers_is_cancelled_after_five_seconds() {
    let app = TestApp::with(cancels_what_is_left).await;
    app.model.rules([story()]);
    let reader = half_told(&app, ask("by-stream")).await;
    let mut socket = app.socket().await;
    socket.send(frame("c-1", ask("by-socket"))).await;
    let on_socket = text(&until_half_on(&mut socket).await[0]["turn_id"]).to_owned();
    let streamed = reader.turn();
    drop((reader, socket));
    let left = Instant::now();
    let waited_for = leave_while_waiting(&app).await;

    for turn in [streamed, on_socket, waited_for] {
        let turn = ended(&app, &turn).await;
        assert!(left.elapsed().as_millis() >= 4900, "{:?}", left.elapsed());
        assert_eq!((text(&turn["status"]), text(&turn["cancel_reason"])), ("cancelled", "disconnect"));
        let said = said(&app, text(&turn["conversation"]["id"])).await;
        assert_eq!(said[1], ("guide".to_owned(), BEGINNING.to_owned(), true));
    }
    until_idle(&app).await;
}

#[tokio::test]
async fn five_seconds_count_from_the_last_reader_and_not_from_an_earlier_one() {
    let app = TestApp::with(cancels_what_is_left).await;
    let first = half_told(&app, ask("left")).await;
    let turn = first.turn();
    drop(first);
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let mut second = app.resume(&turn, "0-0").await;
    until_half(&mut second).await;
    drop(second);
    let left = Instant::now();
    assert_eq!(ended(&app, &turn).await["cancel_reason"], "disconnect");
    assert!(left.elapsed().as_millis() >= 4900, "{:?}", left.elapsed());
}

#[tokio::test]
async fn a_turn_with_another_reader_or_one_that_never_had_any_is_not_cancelled() {
    let app = TestApp::with(cancels_what_is_left).await;
    let unread = half_told_to_nobody(&app, ask("unread")).await;
    let first = half_told(&app, ask("left")).await;
    let second = app.resume(&first.turn(), "0-0").await;
    drop(first);
    tokio::time::sleep(std::time::Duration::from_millis(6500)).await;
    for turn in [&unread, &second.turn()] {
        assert_eq!(read(&app, turn).await["status"], "running");
    }
    app.model.go_on();
    assert_eq!(kinds(&second.rest().await).last(), Some(&"turn.completed"));
    assert_eq!(ended(&app, &unread).await["status"], "completed");
}
