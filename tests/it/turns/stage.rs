//! What the scenarios share: requests, a model that stops in the middle of a story, and what can be seen of a turn.

use polylogue::config::Config;
use polylogue::simulator::{Fault, Rule};
use serde_json::{Value, json};

use crate::support::{Socket, Sse, SseEvent, TestApp, eventually, span};

pub const CHAT: &str = "/api/v1/chat";
pub const TURNS: &str = "/api/v1/turns";

/// How the instructions of two built-in personas begin, for rules of the simulator.
pub const GUIDE: &str = "You are Guide";
pub const SKEPTIC: &str = "You are Skeptic";
/// How the question who answers begins.
pub const ROUTING: &str = "You decide who answers";

/// What the model has said of its story when it stops.
pub const BEGINNING: &str = "Once upon ";

/// A message for the guide.
pub fn ask(conversation: &str) -> Value {
    json!({"message": "tell me a story", "conversation_id": conversation, "personas": ["guide"]})
}

/// The same with other members.
pub fn with(mut body: Value, members: Value) -> Value {
    let Value::Object(members) = members else { panic!("members are an object") };
    body.as_object_mut().unwrap().extend(members);
    body
}

/// The frame that starts a turn.
pub fn frame(reference: &str, body: Value) -> Value {
    with(body, json!({"type": "chat", "ref": reference}))
}

/// A story that stops after two words until the test lets it go on.
pub fn story() -> Rule {
    Rule::says(["Once ", "upon ", "a time."]).pausing_after(2)
}

/// An error from the model is final at once.
pub fn without_retries(config: &mut Config) {
    config.llm.retry.attempts = 1.try_into().unwrap();
}

/// Waits between attempts are too short to notice.
pub fn with_short_waits(config: &mut Config) {
    config.llm.retry.wait = span(1);
}

/// Rules that make this persona's model fail, every time.
pub fn fails(persona: &str, fault: Fault) -> Rule {
    Rule::fails(fault).when_contains(persona)
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}"))
}

pub fn kinds(events: &[SseEvent]) -> Vec<&str> {
    events.iter().map(|event| event.name.as_str()).collect()
}

/// What a conversation remembers: who said what, and whether it was cut short.
pub async fn said(app: &TestApp, conversation: &str) -> Vec<(String, String, bool)> {
    let page = app.get(&format!("/api/v1/conversations/{conversation}/messages?limit=100")).await;
    assert_eq!(page.status, 200, "{page:?}");
    let message = |said: &Value| {
        let who = said["persona"].as_str().or(said["role"].as_str()).unwrap().to_owned();
        (who, text(&said["content"]).to_owned(), said["cancelled"].as_bool().unwrap_or(false))
    };
    page.body["data"].as_array().unwrap().iter().map(message).collect()
}

/// Starts a story and reads until it stops in its middle.
pub async fn half_told(app: &TestApp, body: Value) -> Sse {
    app.model.rules([story()]);
    let mut stream = app.stream(body).await;
    assert_eq!(stream.status, 200);
    until_half(&mut stream).await;
    stream
}

/// Reads until the story has stopped.
pub async fn until_half(stream: &mut Sse) -> Vec<SseEvent> {
    let (mut seen, mut told) = (Vec::new(), String::new());
    while told != BEGINNING {
        let events = stream.until("reply.delta").await;
        told += text(&events.last().unwrap().data["text"]);
        seen.extend(events);
    }
    seen
}

/// Reads frames until the story has stopped.
pub async fn until_half_on(socket: &mut Socket) -> Vec<Value> {
    let (mut seen, mut told) = (Vec::new(), String::new());
    while told != BEGINNING {
        let frames = socket.until("reply.delta").await;
        told += text(&frames.last().unwrap()["text"]);
        seen.extend(frames);
    }
    seen
}

/// Starts a story that nobody reads, and waits until the model has stopped in its middle; answers the turn.
pub async fn half_told_to_nobody(app: &TestApp, body: Value) -> String {
    app.model.rules([story()]);
    let started = app.post(TURNS, body).await;
    assert_eq!(started.status, 202, "{started:?}");
    let turn = started.header("turn-id").to_owned();
    until_said(app, &turn, BEGINNING).await;
    turn
}

/// Waits until the turn's first reply has said this much.
pub async fn until_said(app: &TestApp, turn: &str, content: &str) {
    eventually("the model has said so much", async || {
        read(app, turn).await["replies"][0]["content"] == content
    })
    .await;
}

/// The turn as it stands.
pub async fn read(app: &TestApp, turn: &str) -> Value {
    app.get(&format!("{TURNS}/{turn}")).await.body
}

/// The turn when it has ended.
pub async fn ended(app: &TestApp, turn: &str) -> Value {
    eventually("the turn has ended", async || read(app, turn).await["status"] != "running").await;
    read(app, turn).await
}

/// Waits until the model answers nobody any more.
pub async fn until_idle(app: &TestApp) {
    eventually("the model is idle", async || app.model.stats().in_flight == 0).await;
}
