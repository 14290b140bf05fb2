//! What becomes of a turn when models fail.

use polylogue::config::Config;
use polylogue::simulator::{Fault, Rule};
use serde_json::{Value, json};

use super::stage::*;
use crate::support::{Answer, TestApp};

fn both() -> Value {
    json!({"message": "was Troy real?", "personas": ["guide", "skeptic"]})
}

fn one_attempt_and_a_patient_breaker(config: &mut Config) {
    without_retries(config);
    config.llm.breaker.failures = 1000.try_into().unwrap();
}

/// A turn of the guide whose model does this.
async fn one_reply(rule: Rule) -> Answer {
    let app = TestApp::with(one_attempt_and_a_patient_breaker).await;
    app.model.rules([rule]);
    app.post(CHAT, ask("faulty")).await
}

#[tokio::test]
async fn one_failed_reply_does_not_fail_the_others() {
    let app = TestApp::with(one_attempt_and_a_patient_breaker).await;
    app.model.rules([fails(GUIDE, Fault::ServerError), Rule::says(["Hardly."]).when_contains(SKEPTIC)]);
    let answer = app.post(CHAT, both()).await;
    assert_eq!((answer.status, text(&answer.body["status"])), (200, "completed"));
    let [failed, fine] = [&answer.body["replies"][0], &answer.body["replies"][1]];
    assert_eq!((text(&failed["persona"]), text(&failed["status"])), ("guide", "failed"));
    assert_eq!(
        (text(&failed["error"]["code"]), &failed["error"]["status"]),
        ("model_unavailable", &json!(503))
    );
    assert_eq!(failed.get("message_id"), None);
    assert_eq!((text(&fine["status"]), text(&fine["content"])), ("completed", "Hardly."));
    assert_eq!(answer.body["usage"], fine["usage"]);

    let said = said(&app, text(&answer.body["conversation"]["id"])).await;
    let who: Vec<_> = said.iter().map(|(who, ..)| who.as_str()).collect();
    assert_eq!(who, ["user", "skeptic"], "a failed reply says nothing");
    assert_eq!(app.metric("replies_total{outcome=\"failed\",persona=\"guide\"}"), 1.0);
    assert_eq!(app.metric("replies_total{outcome=\"completed\",persona=\"skeptic\"}"), 1.0);
}

#[tokio::test]
async fn a_stream_tells_of_a_failed_reply_and_goes_on() {
    let app = TestApp::with(one_attempt_and_a_patient_breaker).await;
    app.model.rules([fails(GUIDE, Fault::RefuseAuth), story().when_contains(SKEPTIC)]);
    let mut stream = app.stream(both()).await;
    let failed = stream.until("reply.failed").await.pop().unwrap().data;
    assert_eq!((text(&failed["persona"]), text(&failed["error"]["code"])), ("guide", "model_failed"));
    app.model.go_on();
    let rest = stream.rest().await;
    assert_eq!(kinds(&rest).last(), Some(&"turn.completed"));
}

#[tokio::test]
async fn when_all_replies_fail_the_answer_is_the_first_ones_problem() {
    let faults = [
        (Fault::RefuseRequest, 502, "model_failed"),
        (Fault::RefuseAuth, 502, "model_failed"),
        (Fault::CutStream { after_tokens: 2 }, 503, "model_unavailable"),
        (Fault::NoFinishReason, 502, "model_failed"),
        (Fault::Garbage, 502, "model_failed"),
        (Fault::ServerError, 503, "model_unavailable"),
        (Fault::Unavailable { retry_after_s: 7 }, 503, "model_unavailable"),
        (Fault::RateLimited { retry_after_s: 7 }, 503, "model_unavailable"),
    ];
    for (fault, status, code) in faults {
        let app = TestApp::with(one_attempt_and_a_patient_breaker).await;
        app.model.rules([fails(GUIDE, fault), fails(SKEPTIC, Fault::ServerError)]);
        let answer = app.post(CHAT, both()).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{fault:?}: {answer:?}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.header("problem-code"), code);
        assert_eq!(answer.body["turn_id"], answer.header("turn-id"));
        assert_eq!(answer.header("location"), format!("{TURNS}/{}", answer.header("turn-id")));
        assert!(!answer.header("ratelimit").is_empty());
        assert_eq!(!answer.header("retry-after").is_empty(), status == 503);
        let turn = read(&app, answer.header("turn-id")).await;
        assert_eq!((text(&turn["status"]), text(&turn["error"]["code"])), ("failed", code));
        assert_eq!(app.metric("turns_total{outcome=\"failed\"}"), 1.0);
    }
}

#[tokio::test]
async fn a_model_that_asks_us_to_wait_makes_the_caller_wait_as_long() {
    let answer = one_reply(Rule::fails(Fault::RateLimited { retry_after_s: 7 })).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "7"));
    assert_eq!(answer.body["retry_after_ms"], 7000);
    assert_eq!(answer.body.get("violated-policies"), None, "429 would mean the caller");
}

#[tokio::test]
async fn a_model_that_says_nothing_in_time_is_504() {
    let app = TestApp::with(|config| {
        one_attempt_and_a_patient_breaker(config);
        config.llm.first_token_timeout = crate::support::span(50);
        config.llm.token_gap_timeout = crate::support::span(50);
    })
    .await;
    for fault in [Fault::Stall, Fault::StallMidway { after_tokens: 2 }] {
        app.model.rules([Rule::fails(fault)]);
        let answer = app.post(CHAT, ask("slow")).await;
        assert_eq!((answer.status, answer.code()), (504, "model_timeout"), "{fault:?}");
        assert!(!answer.header("turn-id").is_empty());
    }
    until_idle(&app).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_failure_and_is_not_remembered() {
    for fault in [
        Fault::CutStream { after_tokens: 3 },
        Fault::NoFinishReason,
        Fault::ErrorInStream { after_tokens: 3 },
    ] {
        let app = TestApp::with(one_attempt_and_a_patient_breaker).await;
        app.model.rules([Rule::fails(fault)]);
        let stream = app.stream(ask("cut")).await;
        let events = stream.rest().await;
        assert!(kinds(&events).contains(&"reply.delta"), "{fault:?}");
        assert_eq!(kinds(&events)[events.len() - 2..], ["reply.failed", "turn.failed"], "{fault:?}");
        assert_eq!(said(&app, "cut").await.len(), 1);
        assert_eq!(app.model.stats().requests, 1, "nothing is asked again after the first token");
    }
}

#[tokio::test]
async fn a_content_filters_stop_is_a_completed_reply() {
    let rule = Rule { finish_reason: Some("content_filter".into()), ..Rule::says(["I would rather "]) };
    let answer = one_reply(rule).await;
    assert_eq!(answer.status, 200);
    let reply = &answer.body["replies"][0];
    assert_eq!((text(&reply["status"]), text(&reply["finish_reason"])), ("completed", "content_filter"));
}

#[tokio::test]
async fn a_fault_before_the_first_token_is_tried_again_without_anybody_noticing() {
    let app = TestApp::with(with_short_waits).await;
    app.model.rules([Rule::fails(Fault::ServerError).times(2)]);
    let stream = app.stream(ask("lucky")).await;
    let events = stream.rest().await;
    assert_eq!(kinds(&events).last(), Some(&"turn.completed"));
    assert_eq!(events.iter().filter(|event| event.name == "reply.started").count(), 1);
    assert_eq!(app.model.stats().requests, 3);
    assert_eq!(app.metric("llm_retries_total{reason=\"broken\"}"), 2.0);
}

#[tokio::test]
async fn an_open_breaker_refuses_at_once_and_says_when_to_come_back() {
    let app = TestApp::with(without_retries).await;
    app.model.rules([Rule::fails(Fault::ServerError)]);
    for _ in 0..5 {
        assert_eq!(app.post(CHAT, ask("down")).await.status, 503);
    }
    let asked = app.model.stats().requests;
    let answer = app.post(CHAT, ask("down")).await;
    assert_eq!((answer.status, answer.code()), (503, "model_unavailable"));
    let wait = answer.body["retry_after_ms"].as_u64().unwrap();
    assert!((50_000..=60_000).contains(&wait), "{wait}");
    assert_eq!(answer.header("retry-after").parse::<u64>().unwrap(), wait.div_ceil(1000));
    assert_eq!((app.model.stats().requests, asked), (5, 5), "an open circuit asks nobody");

    let mut socket = app.socket().await;
    socket.send(frame("c-1", ask("down"))).await;
    let failed = socket.until("turn.failed").await.pop().unwrap();
    assert_eq!(failed["error"]["code"], "model_unavailable");
    assert!(failed["error"]["retry_after_ms"].as_u64().is_some());
}

#[tokio::test]
async fn the_conversation_goes_on_after_a_failed_turn() {
    let app = TestApp::with(one_attempt_and_a_patient_breaker).await;
    app.model.rules([Rule::fails(Fault::ServerError).times(1)]);
    assert_eq!(app.post(CHAT, ask("again")).await.status, 503);
    assert_eq!(app.post(CHAT, ask("again")).await.status, 200);
    let who: Vec<_> = said(&app, "again").await.into_iter().map(|(who, ..)| who).collect();
    assert_eq!(who, ["user", "user", "guide"]);
}
