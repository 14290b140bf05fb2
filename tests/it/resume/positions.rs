//! What a position means for a turn (`state.md` §4).

use serde_json::{Value, json};

use super::{Door, Reader, ask, data, id, resume};
use crate::support::{Answer, Client, Sse, TestApp, eventually, says, span};

/// A turn of one persona that waits after two words; its events so far.
async fn paused(app: &TestApp) -> (Sse, String, Vec<Value>) {
    app.model.rules([says("guide", ["It ", "was ", "real."]).pausing_after(2)]);
    let mut stream = app.stream(ask(&["guide"])).await;
    let turn = stream.turn();
    let mut seen = data(stream.until("reply.delta").await);
    seen.extend(data(stream.until("reply.delta").await));
    (stream, turn, seen)
}

/// A turn that has ended, and its events.
async fn ended(app: &TestApp) -> (String, Vec<Value>) {
    let stream = app.stream(ask(&["guide"])).await;
    (stream.turn(), data(stream.rest().await))
}

async fn asked_after(client: &Client, turn: &str, position: &str) -> Answer {
    let request = client.client.get(client.url(&format!("/api/v1/turns/{turn}/events")));
    Answer::of(request.header("Last-Event-ID", position).send().await.unwrap()).await
}

/// The `error` that a socket gets for the same.
async fn socket_asked_after(client: &Client, turn: &str, position: &str) -> Value {
    let mut socket = client.socket().await;
    socket.send(resume(turn, position)).await;
    let frame = socket.next().await.unwrap();
    assert_eq!((&frame["type"], &frame["ref"]), (&json!("error"), &json!("again")), "{frame}");
    frame["error"].clone()
}

#[tokio::test]
async fn after_the_terminal_event_there_is_nothing_more() {
    let app = TestApp::start().await;
    let (turn, events) = ended(&app).await;
    let last = id(events.last().unwrap());
    let answer = asked_after(&app, &turn, last).await;
    assert_eq!((answer.status, answer.body), (204, Value::from("")), "which stops an EventSource");

    let mut socket = app.socket().await;
    socket.send(resume(&turn, last)).await;
    socket.send(json!({"type": "ping"})).await;
    assert_eq!(socket.next().await.unwrap()["type"], "pong", "not a word of the turn");
}

#[tokio::test]
async fn what_is_not_the_id_of_an_event_is_refused() {
    let app = TestApp::start().await;
    let (turn, _) = ended(&app).await;
    for position in ["1", "x-1", "1-", "-1", "1-1-1", "01-1", "1-99999999999999999999999", "1 - 1"] {
        let answer = asked_after(&app, &turn, position).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_event_id"), "{position}");
        assert_eq!(answer.body["errors"][0]["header"], "Last-Event-ID");
        let answer =
            app.get(&format!("/api/v1/turns/{turn}/events?after={}", position.replace(' ', "%20"))).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_event_id"), "{position}");
        assert_eq!(answer.body["errors"][0]["parameter"], "after");
        assert_eq!(socket_asked_after(&app, &turn, position).await["status"], 400, "{position}");
    }
}

#[tokio::test]
async fn what_this_turn_never_had_is_not_known_and_says_which_turn_to_read() {
    let app = TestApp::start().await;
    let (turn, events) = ended(&app).await;
    let beyond = format!("1-{}", events.len() + 1);
    for position in ["2-1", "99999999999999-1", "0-1", &beyond] {
        let answer = asked_after(&app, &turn, position).await;
        assert_eq!((answer.status, answer.code()), (410, "event_unknown"), "{position}");
        assert_eq!(answer.body["turn_id"], turn);
        let error = socket_asked_after(&app, &turn, position).await;
        assert_eq!((&error["code"], &error["turn_id"]), (&json!("event_unknown"), &json!(turn)));
    }
    let (_stream, running, _) = paused(&app).await;
    assert_eq!(asked_after(&app, &running, "2-1").await.code(), "event_unknown");
}

#[tokio::test]
async fn a_turn_that_is_not_known_is_not_found() {
    let app = TestApp::start().await;
    for turn in ["01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2", "nonsense"] {
        for position in ["1-1", "0-0", ""] {
            let answer = asked_after(&app, turn, position).await;
            assert_eq!((answer.status, answer.code()), (404, "turn_not_found"), "{turn} {position}");
        }
    }
    let unknown = "01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2";
    assert_eq!(socket_asked_after(&app, unknown, "1-1").await["code"], "turn_not_found");
}

#[tokio::test]
async fn a_position_ahead_of_a_running_turn_waits_for_what_follows_it() {
    let app = TestApp::with(|config| config.server.sse_keep_alive = span(20)).await;
    let (stream, turn, seen) = paused(&app).await;
    let ahead = format!("1-{}", seen.len() + 1);
    let mut waiting = app.resume(&turn, &ahead).await;
    let on_a_socket = Reader::open(&app, Door::Socket, &turn, &ahead).await;
    // The opening, and then signs of life while there is nothing to say.
    waiting.until_comments(3).await;

    app.model.go_on();
    let whole = [seen, data(stream.rest().await)].concat();
    let follows = whole.iter().position(|event| id(event) == ahead).unwrap() + 1;
    assert_eq!(data(waiting.rest().await), whole[follows..]);
    assert_eq!(on_a_socket.rest().await, whole[follows..]);
}

#[tokio::test]
async fn without_a_position_or_from_the_very_beginning_everything_comes() {
    let app = TestApp::start().await;
    let (turn, events) = ended(&app).await;
    for position in ["", "0-0", "1-0"] {
        assert_eq!(data(app.resume(&turn, position).await.rest().await), events, "{position:?}");
    }
    assert_eq!(data(app.follow(&format!("{turn}/events")).await.rest().await), events);
    let mut socket = app.socket().await;
    socket.send(json!({"type": "resume", "ref": "all", "turn_id": turn})).await;
    assert_eq!(socket.until("turn.completed").await.len(), events.len());
}

#[tokio::test]
async fn the_header_of_a_reconnecting_browser_wins_over_the_address_it_was_given() {
    let app = TestApp::start().await;
    let (turn, events) = ended(&app).await;
    let address = app.url(&format!("/api/v1/turns/{turn}/events?after=1-1"));
    let stream = Sse::of(app.client.get(address).header("Last-Event-ID", "1-3").send().await.unwrap());
    assert_eq!(data(stream.rest().await), events[3..]);
}

/// What an `EventSource` does by itself: it takes the wait from the stream, sends the last id it saw, and stops at 204.
#[tokio::test]
async fn a_browser_that_reconnects_by_itself_sees_the_turn_once_and_then_stops() {
    let app = TestApp::start().await;
    app.model.rules([says("guide", ["a ", "b ", "c ", "d "]).pausing_after(1)]);
    let turn = app.start_turn(ask(&["guide"])).await;
    let (mut seen, mut last) = (Vec::new(), String::new());
    loop {
        let mut stream = app.resume(&turn, &last).await;
        if stream.status == 204 {
            break;
        }
        assert_eq!(stream.headers["content-type"], "text/event-stream");
        let event = stream.next().await.unwrap();
        assert_eq!((stream.retry, stream.comments > 0), (Some(2000), true));
        last.clone_from(&event.id);
        seen.push(event.data);
        app.model.go_on();
    }
    eventually("it has ended", async || {
        app.get(&format!("/api/v1/turns/{turn}")).await.body["last_event_id"] == last
    })
    .await;
    let ids: Vec<_> = seen.iter().map(id).collect();
    assert_eq!(ids, (1..=seen.len()).map(|n| format!("1-{n}")).collect::<Vec<_>>());
    assert_eq!(seen.last().unwrap()["type"], "turn.completed");
}
