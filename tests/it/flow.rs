//! One turn through every door, and what is remembered of it.

use serde_json::{Value, json};

use crate::support::{SseEvent, TestApp};

const ASK: &str = "was Troy real?";

fn ask() -> Value {
    json!({"message": ASK, "personas": ["historian", "skeptic"]})
}

/// What the pieces of one persona's text come to.
fn text_of(events: &[Value], persona: &str) -> String {
    let deltas = events.iter().filter(|event| event["type"] == "reply.delta" && event["persona"] == persona);
    deltas.map(|event| event["text"].as_str().unwrap()).collect()
}

fn completed<'a>(events: &'a [Value], persona: &str) -> &'a Value {
    events.iter().find(|event| event["type"] == "reply.completed" && event["persona"] == persona).unwrap()
}

/// What every door promises of a turn's events.
fn is_a_whole_turn(events: &[Value]) {
    let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds[..2], ["turn.started", "routing.decided"]);
    assert_eq!(kinds.last(), Some(&"turn.completed"));
    for (place, event) in events.iter().enumerate() {
        assert_eq!(event["id"], format!("1-{}", place + 1), "no gaps, no doubles");
    }
    for persona in ["historian", "skeptic"] {
        let started = |event: &&Value| event["type"] == "reply.started" && event["persona"] == persona;
        assert_eq!(events.iter().filter(started).count(), 1);
        let whole = completed(events, persona);
        assert_eq!(text_of(events, persona), whole["content"].as_str().unwrap());
        assert_eq!(whole["finish_reason"], "stop");
        assert!(whole["usage"]["output_tokens"].as_u64().unwrap() > 0);
    }
}

fn data(events: Vec<SseEvent>) -> Vec<Value> {
    for event in &events {
        assert_eq!(
            (event.id.as_str(), event.name.as_str()),
            (text(&event.data["id"]), text(&event.data["type"]))
        );
    }
    events.into_iter().map(|event| event.data).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[tokio::test]
async fn a_json_caller_gets_the_whole_turn_at_its_end() {
    let app = TestApp::start().await;
    let answer = app.post("/api/v1/chat", ask()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let turn = &answer.body;
    assert_eq!(answer.header("turn-id"), text(&turn["turn_id"]));
    assert_eq!(answer.header("location"), format!("/api/v1/turns/{}", text(&turn["turn_id"])));
    assert_eq!((text(&turn["status"]), text(&turn["routing"]["source"])), ("completed", "explicit"));
    let personas: Vec<_> =
        turn["replies"].as_array().unwrap().iter().map(|reply| text(&reply["persona"])).collect();
    assert_eq!(personas, ["historian", "skeptic"]);
    assert_eq!(turn["conversation"]["created"], true);
    let later = app.get(answer.header("location")).await;
    assert_eq!(later.body, *turn);
}

#[tokio::test]
async fn a_streaming_caller_gets_every_event_as_it_happens() {
    let app = TestApp::start().await;
    let stream = app.stream(ask()).await;
    assert_eq!(stream.status, 200);
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    assert_eq!(stream.headers["cache-control"], "no-store, no-transform");
    assert_eq!(stream.headers["x-accel-buffering"], "no");
    is_a_whole_turn(&data(stream.rest().await));
}

#[tokio::test]
async fn a_socket_gets_the_same_events_with_its_ref() {
    let app = TestApp::start().await;
    let mut socket = app.socket().await;
    let mut frame = ask();
    frame.as_object_mut().unwrap().extend([("type".into(), "chat".into()), ("ref".into(), "c-1".into())]);
    socket.send(frame).await;
    let events = socket.until("turn.completed").await;
    assert!(events.iter().all(|event| event["ref"] == "c-1"));
    is_a_whole_turn(&events);
}

#[tokio::test]
async fn a_caller_may_go_away_at_once_and_read_the_turn_later() {
    let app = TestApp::start().await;
    let accepted = app.post("/api/v1/turns", ask()).await;
    assert_eq!(accepted.status, 202);
    assert!(["running", "completed"].contains(&text(&accepted.body["status"])));
    let events = data(app.resume(accepted.header("turn-id"), "0-0").await.rest().await);
    is_a_whole_turn(&events);
}

#[tokio::test]
async fn a_conversation_remembers_what_was_said_in_order() {
    let app = TestApp::start().await;
    let first = app.post("/api/v1/chat", ask()).await.body;
    let id = text(&first["conversation"]["id"]);
    let again = json!({"message": "go on", "conversation_id": id, "personas": ["guide"]});
    let second = app.post("/api/v1/chat", again).await.body;
    assert_eq!(second["conversation"], json!({"id": id, "created": false}));

    let messages = app.get(&format!("/api/v1/conversations/{id}/messages")).await.body;
    let said: Vec<_> = messages["data"].as_array().unwrap().iter().collect();
    let who = |message: &Value| message["persona"].as_str().unwrap_or("user").to_owned();
    assert_eq!(
        said.iter().map(|m| who(m)).collect::<Vec<_>>(),
        ["user", "historian", "skeptic", "user", "guide"]
    );
    assert_eq!(said[0]["content"], ASK);
    assert_eq!(said[1]["content"], first["replies"][0]["content"]);
    assert_eq!(said[1]["id"], first["replies"][0]["message_id"]);

    let view = app.get(&format!("/api/v1/conversations/{id}")).await.body;
    assert_eq!((view["message_count"].as_u64(), view.get("active_turn_id")), (Some(5), None));
}

#[tokio::test]
async fn a_message_is_routed_by_list_mention_model_and_cache() {
    let app = TestApp::start().await;
    let source = async |message: &str, personas: &[&str]| {
        let body = json!({"message": message, "personas": personas});
        text(&app.post("/api/v1/chat", body).await.body["routing"]["source"]).to_owned()
    };
    assert_eq!(source("hello", &["guide"]).await, "explicit");
    assert_eq!(source("@skeptic hello", &[]).await, "mention");
    assert_eq!(source("tell me about Troy", &[]).await, "model");
    assert_eq!(source("  tell me   about TROY ", &[]).await, "cache");
}

#[tokio::test]
async fn personas_are_shown_without_their_instructions() {
    let app = TestApp::start().await;
    let all = app.get("/api/v1/personas").await.body;
    let ids: Vec<_> = all["data"].as_array().unwrap().iter().map(|persona| text(&persona["id"])).collect();
    assert_eq!(ids, ["guide", "skeptic", "historian"]);
    assert!(!all.to_string().contains("system_prompt"));
    assert_eq!(app.get("/api/v1/personas/guide").await.body["name"], "Guide");
    assert_eq!(app.get("/api/v1/personas/nobody").await.code(), "persona_not_found");
}

#[tokio::test]
async fn a_message_can_be_added_and_a_conversation_forgotten() {
    let app = TestApp::start().await;
    let path = "/api/v1/conversations/mine";
    let added =
        app.post(&format!("{path}/messages"), json!({"role": "user", "content": "remember me"})).await;
    assert_eq!((added.status, text(&added.body["content"])), (201, "remember me"));
    assert_eq!(app.get(path).await.body["message_count"], 1);

    for _ in 0..2 {
        let gone = app.client.delete(app.url(path)).send().await.unwrap();
        assert_eq!(gone.status(), 204);
    }
    assert_eq!(app.get(path).await.code(), "conversation_not_found");
    assert_eq!(app.get(&format!("{path}/messages")).await.code(), "conversation_not_found");
}
