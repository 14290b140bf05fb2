//! What an operator sees of turns, and what nobody sees.

use std::collections::BTreeSet;

use polylogue::simulator::{Fault, Rule};
use serde_json::json;
use tracing_subscriber::EnvFilter;

use super::stage::*;
use crate::support::{Log, TestApp};

#[tokio::test]
async fn every_end_of_a_turn_is_counted_once() {
    let app = TestApp::with(without_retries).await;
    assert_eq!(app.post(CHAT, ask("one")).await.status, 200);
    app.model.rules([Rule::fails(Fault::ServerError)]);
    assert_eq!(app.post(CHAT, ask("one")).await.status, 503);
    let reader = half_told(&app, ask("one")).await;
    app.post(&format!("{TURNS}/{}/cancel", reader.turn()), json!({})).await;

    for outcome in ["completed", "failed", "cancelled"] {
        assert_eq!(app.metric(&format!("turns_total{{outcome=\"{outcome}\"}}")), 1.0, "{outcome}");
        let reply = format!("replies_total{{outcome=\"{outcome}\",persona=\"guide\"}}");
        assert_eq!(app.metric(&reply), 1.0, "{outcome}");
        let duration = format!("turn_duration_seconds_count{{outcome=\"{outcome}\"}}");
        assert_eq!(app.metric(&duration), 1.0, "{outcome}");
    }
    assert_eq!(app.metric("turn_overhead_seconds_count"), 3.0);
    assert_eq!(app.metric("turn_time_to_first_token_seconds_count{transport=\"json\"}"), 1.0);
    assert_eq!(app.metric("turn_time_to_first_token_seconds_count{transport=\"sse\"}"), 1.0);
    assert_eq!(app.metric("turns_in_flight"), 0.0);
}

#[tokio::test]
async fn models_that_work_at_the_same_time_count_once_and_the_rest_is_ours() {
    let app = TestApp::with(|config| config.simulator.time_to_first_token = crate::support::span(300)).await;
    app.post(CHAT, with(ask("slow"), json!({"personas": ["guide", "skeptic", "historian"]}))).await;
    let took = app.metric("turn_duration_seconds_sum{outcome=\"completed\"}");
    let ours = app.metric("turn_overhead_seconds_sum");
    assert!(ours > 0.0 && took - ours >= 0.3, "{ours} of {took}");
    let ours = app.metric("reply_overhead_seconds_sum");
    assert_eq!(app.metric("reply_overhead_seconds_count"), 3.0);
    assert!(ours > 0.0 && 3.0 * took - ours >= 0.9, "{ours} of three times {took}");
}

#[tokio::test]
async fn the_time_of_a_model_that_chooses_is_not_ours_either() {
    let app = TestApp::with(|config| config.simulator.time_to_first_token = crate::support::span(300)).await;
    let chosen = app.post(CHAT, json!({"message": "who of you knows?"})).await;
    assert_eq!(chosen.body["routing"]["source"], "model", "{chosen:?}");
    let took = app.metric("turn_duration_seconds_sum{outcome=\"completed\"}");
    let ours = app.metric("turn_overhead_seconds_sum");
    assert!(took - ours >= 0.6, "{ours} of {took}");
}

#[tokio::test]
async fn nothing_that_a_client_sends_becomes_a_label() {
    let app = TestApp::start().await;
    let names = async || {
        let text = app.app.services().metrics.render();
        let series = text.lines().filter(|line| !line.starts_with('#'));
        series.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect::<BTreeSet<_>>()
    };
    let body = with(ask("xyzzy-talk"), json!({"message": "xyzzy words", "metadata": {"xyzzy": "xyzzy"}}));
    let headers = [("Idempotency-Key", "xyzzy-key"), ("X-Request-ID", "xyzzy-request")];
    let answer = app.post_with(CHAT, &headers, &body).await;
    assert_eq!((answer.status, answer.header("x-request-id")), (200, "xyzzy-request"));
    app.post(CHAT, with(ask("xyzzy"), json!({"personas": ["xyzzy"]}))).await;
    app.get("/api/v1/personas/xyzzy?xyzzy=1").await;
    app.get("/xyzzy").await;
    let mut socket = app.socket().await;
    socket.send(frame("xyzzy-ref", ask("xyzzy"))).await;
    socket.until("turn.completed").await;
    socket.send(json!({"type": "xyzzy", "ref": "xyzzy"})).await;
    socket.until("error").await;
    let found: Vec<_> = names().await.into_iter().filter(|series| series.contains("xyzzy")).collect();
    assert_eq!(found, Vec::<String>::new());
}

#[tokio::test]
async fn no_log_line_holds_what_was_said_and_every_turn_has_one() {
    // With a single subscriber alive, tracing remembers for all threads whether the first one listened; with two it asks.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let log = Log::default();
    let writer = log.clone();
    let _logging = tracing::subscriber::set_default(
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new("info,polylogue=trace,async_openai=off"))
            .with_writer(move || writer.clone())
            .finish(),
    );
    let app = TestApp::with(|config| {
        without_retries(config);
        config.turns.max_events = 100.try_into().unwrap();
    })
    .await;
    let secret =
        || json!({"message": "SECRET", "metadata": {"SECRET": "SECRET"}, "conversation_id": "quiet"});
    let faults =
        [None, Some(Fault::CutStream { after_tokens: 1 }), Some(Fault::RefuseAuth), Some(Fault::Garbage)];
    for fault in faults {
        app.model.rules([Rule { fault, ..Rule::says(["SECRET ", "SECRET"]) }]);
        app.post(CHAT, secret()).await;
        app.post(CHAT, with(secret(), json!({"personas": ["guide"]}))).await;
    }
    app.post(CHAT, with(secret(), json!({"message": "", "SECRET": 1}))).await;
    let mut socket = app.socket().await;
    socket.send(json!({"type": "SECRET", "ref": "c-1", "SECRET": "SECRET"})).await;
    socket.until("error").await;
    app.post("/api/v1/conversations/quiet/messages", json!({"role": "user", "content": "SECRET"})).await;
    app.delete("/api/v1/conversations/quiet").await;

    let log = log.text();
    for event in ["turn_finished", "reply_failed", "routing_fallback", "request_finished"] {
        assert!(log.contains(event), "{event} in {log}");
    }
    assert_eq!(log.matches("turn_finished").count(), 8, "{log}");
    assert!(!log.contains("SECRET"), "{log}");
}
