//! What an operator can switch off.

use polylogue::config::Config;
use polylogue::simulator::Rule;
use serde_json::{Value, json};

use super::stage::*;
use crate::support::{Scratch, TestApp};

/// A flags file in which this flag has another value than by default.
fn flags(name: &str, value: Value) -> Scratch {
    let flag = json!({"state": "ENABLED", "variants": {"set": value}, "defaultVariant": "set"});
    Scratch::file("json", &json!({"flags": {name: flag}}).to_string())
}

fn by(file: &Scratch) -> impl FnOnce(&mut Config) {
    let path = file.path();
    |config| config.flags.file = Some(path)
}

async fn source(app: &TestApp) -> String {
    let answer = app.post(CHAT, json!({"message": "who knows?"})).await;
    text(&answer.body["routing"]["source"]).to_owned()
}

#[tokio::test]
async fn without_routing_the_default_persona_answers_and_no_model_is_asked_who() {
    let file = flags("routing", json!(false));
    let app = TestApp::with(by(&file)).await;
    assert_eq!(source(&app).await, "fallback");
    assert_eq!(app.model.stats().requests, 1);
    let mentioned = app.post(CHAT, json!({"message": "@skeptic so?"})).await.body;
    assert_eq!(mentioned["routing"]["source"], "mention");
}

#[tokio::test]
async fn without_its_cache_routing_asks_every_time() {
    let file = flags("routing_cache", json!(false));
    let app = TestApp::with(by(&file)).await;
    assert_eq!([source(&app).await, source(&app).await], ["model", "model"]);
}

#[tokio::test]
async fn without_parallel_replies_personas_answer_one_after_the_other() {
    let file = flags("parallel_replies", json!(false));
    let app = TestApp::with(by(&file)).await;
    let order = ["historian", "guide", "skeptic"];
    let events = app.stream(with(ask("queue"), json!({"personas": order}))).await.rest().await;
    let mut expected = vec!["turn.started".to_owned(), "routing.decided".to_owned()];
    for persona in order {
        expected.extend(["started", "delta", "completed"].map(|kind| format!("reply.{kind} {persona}")));
    }
    expected.push("turn.completed".to_owned());
    let persona = |data: &Value| data["persona"].as_str().map(|id| format!(" {id}")).unwrap_or_default();
    let mut seen: Vec<_> = events.iter().map(|event| event.name.clone() + &persona(&event.data)).collect();
    seen.dedup();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_cancel_reaches_a_queue_of_personas_and_those_still_to_come_say_nothing() {
    let file = flags("parallel_replies", json!(false));
    let app = TestApp::with(by(&file)).await;
    let stream = half_told(&app, with(ask("queue"), json!({"personas": ["guide", "skeptic"]}))).await;
    let turn = app.post(&format!("{TURNS}/{}/cancel", stream.turn()), json!({})).await.body;
    assert_eq!(turn["status"], "cancelled");
    let statuses: Vec<_> = turn["replies"].as_array().unwrap().iter().map(|r| text(&r["status"])).collect();
    assert_eq!(statuses, ["cancelled", "cancelled"]);
    assert_eq!(kinds(&stream.rest().await).last(), Some(&"turn.cancelled"));
    assert_eq!(app.model.stats().requests, 1);
    assert_eq!(said(&app, "queue").await.len(), 2);
}

#[tokio::test]
async fn fewer_personas_may_be_allowed_than_the_settings_say_but_not_more() {
    let file = flags("max_personas", json!(1));
    let app = TestApp::with(by(&file)).await;
    let refused = app.post(CHAT, with(ask("one"), json!({"personas": ["guide", "skeptic"]}))).await;
    assert_eq!((refused.status, refused.code()), (400, "invalid_request"));
    assert_eq!(refused.body["errors"][0]["pointer"], "#/personas");
    app.model
        .rules([Rule::says([r#"{"personas": ["skeptic", "guide"], "reason": "x"}"#]).when_contains(ROUTING)]);
    let chosen = app.post(CHAT, json!({"message": "who?"})).await.body;
    assert_eq!(chosen["routing"]["personas"], json!(["skeptic"]));

    let file = flags("max_personas", json!(100));
    let app = TestApp::with(|config| {
        by(&file)(config);
        config.turns.max_personas = 2.try_into().unwrap();
    })
    .await;
    let three = with(ask("one"), json!({"personas": ["guide", "skeptic", "historian"]}));
    assert_eq!(app.post(CHAT, three).await.status, 400);
}
