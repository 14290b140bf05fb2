//! What a caller may ask in a while.

use polylogue::config::Config;
use serde_json::{Value, json};

use super::stage::*;
use crate::support::{Answer, TestApp, span};

fn quota(policy: &'static str, quota: u32) -> impl FnOnce(&mut Config) {
    move |config| config.limits.policies.get_mut(policy).unwrap().quota = quota.try_into().unwrap()
}

const PERSONAS: &str = "/api/v1/personas";

fn is_refused(answer: &Answer, quota: &str) {
    assert_eq!((answer.status, answer.code()), (429, "rate_limited"), "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.header("ratelimit-policy"), format!("\"default\";q={quota};w=60"));
    let seconds = answer.header("retry-after");
    assert_eq!(answer.header("ratelimit"), format!("\"default\";r=0;t={seconds}"));
    assert_eq!((answer.header("x-ratelimit-limit"), answer.header("x-ratelimit-remaining")), (quota, "0"));
    assert!(answer.header("x-ratelimit-reset").parse::<u64>().unwrap() > 1_700_000_000);
    let wait = answer.body["retry_after_ms"].as_u64().unwrap();
    assert_eq!(seconds.parse::<u64>().unwrap(), wait.div_ceil(1000));
    assert_eq!(answer.body["violated-policies"], json!(["default"]));
    assert_eq!(answer.body["detail"], format!("The limit is {quota} requests per 60 s."));
}

#[tokio::test]
async fn the_hundred_and_first_request_of_a_window_is_refused() {
    let app = TestApp::with(quota("default", Config::default().limits.policies["default"].quota.get())).await;
    for left in (0..100).rev() {
        let answer = app.get(PERSONAS).await;
        assert_eq!((answer.status, answer.header("x-ratelimit-remaining")), (200, &*left.to_string()));
        assert!(answer.header("ratelimit").starts_with(&format!("\"default\";r={left};t=")));
        assert_eq!(answer.header("retry-after"), "");
    }
    is_refused(&app.get(PERSONAS).await, "100");
    is_refused(&app.post(CHAT, ask("refused")).await, "100");
    assert_eq!(app.get("/livez").await.status, 200);
    assert_eq!(app.model.stats().requests, 0);
}

#[tokio::test]
async fn every_operation_and_every_chat_frame_count_in_the_same_bucket() {
    let app = TestApp::with(quota("default", 6)).await;
    app.get(PERSONAS).await;
    let mut socket = app.socket().await;
    assert_eq!(socket.hello["limits"]["rate_limits"][0]["remaining"], 4, "the upgrade counts as one");
    socket.send(frame("c-1", ask("one"))).await;
    socket.until("turn.completed").await;
    app.post(CHAT, ask("two")).await;
    assert_eq!(app.get("/api/v1/conversations/one").await.header("x-ratelimit-remaining"), "1");
    socket.send(frame("c-2", ask("three"))).await;
    socket.until("turn.completed").await;

    socket.send(frame("c-3", ask("four"))).await;
    let refused = socket.next().await.unwrap();
    assert_eq!((text(&refused["ref"]), text(&refused["error"]["code"])), ("c-3", "rate_limited"));
    assert_eq!(refused["error"]["violated-policies"], json!(["default"]));
    assert!(refused["error"]["retry_after_ms"].as_u64().unwrap() > 50_000);
    is_refused(&app.get(PERSONAS).await, "6");
    socket.send(json!({"type": "ping", "ref": "c-4"})).await;
    assert_eq!(socket.next().await.unwrap()["type"], "pong");
}

#[tokio::test]
async fn following_a_turn_has_a_policy_of_its_own_through_both_doors() {
    let app = TestApp::with(|config| {
        quota("default", 3)(config);
        quota("resume", 3)(config);
    })
    .await;
    let mut socket = app.socket().await;
    let turn = app.post(CHAT, ask("one")).await.header("turn-id").to_owned();
    app.get(PERSONAS).await;
    assert_eq!(app.get(PERSONAS).await.status, 429);

    let resume = |reference: &str| json!({"type": "resume", "ref": reference, "turn_id": turn});
    for reference in ["c-1", "c-2"] {
        socket.send(resume(reference)).await;
        socket.until("turn.completed").await;
    }
    let stream = app.resume(&turn, "0-0").await;
    assert_eq!((stream.status, &stream.headers["x-ratelimit-remaining"]), (200, &"0".parse().unwrap()));
    assert!(stream.headers["ratelimit-policy"].to_str().unwrap().starts_with("\"resume\";q=3"));
    let refused = app.get(&format!("{TURNS}/{turn}/events")).await;
    assert_eq!((refused.status, &refused.body["violated-policies"]), (429, &json!(["resume"])));
    socket.send(resume("c-3")).await;
    let refused = socket.next().await.unwrap();
    assert_eq!(refused["error"]["violated-policies"], json!(["resume"]));
}

#[tokio::test]
async fn probes_and_documents_are_not_limited() {
    let app = TestApp::with(quota("default", 1)).await;
    app.get(PERSONAS).await;
    for path in ["/livez", "/readyz", "/version", "/openapi.json", "/problems/rate_limited"] {
        let answer = app.get(path).await;
        assert_eq!((answer.status, answer.header("ratelimit")), (200, ""), "{path}");
    }
    assert_eq!(app.get(PERSONAS).await.status, 429);
}

#[tokio::test]
async fn the_windows_end_gives_everything_back() {
    let app = TestApp::with(|config| {
        quota("default", 2)(config);
        config.limits.policies.get_mut("default").unwrap().window = span(1000);
    })
    .await;
    for _ in 0..2 {
        assert_eq!(app.get(PERSONAS).await.status, 200);
    }
    let refused = app.get(PERSONAS).await;
    let wait = refused.body["retry_after_ms"].as_u64().unwrap();
    assert!(refused.status == 429 && wait <= 1000, "{refused:?}");
    tokio::time::sleep(std::time::Duration::from_millis(wait)).await;
    for left in ["1", "0"] {
        let answer = app.get(PERSONAS).await;
        assert_eq!((answer.status, answer.header("x-ratelimit-remaining")), (200, left));
    }
}

#[tokio::test]
async fn a_refused_request_uses_nothing_up_and_a_failed_one_does() {
    let app = TestApp::with(quota("default", 2)).await;
    assert_eq!(app.post(CHAT, json!({"message": ""})).await.header("x-ratelimit-remaining"), "1");
    assert_eq!(app.get(&format!("{TURNS}/nonsense")).await.header("x-ratelimit-remaining"), "0");
    let waits = async || app.get(PERSONAS).await.body["retry_after_ms"].as_u64().unwrap();
    let first = waits().await;
    for _ in 0..5 {
        assert!(waits().await <= first);
    }
}

#[tokio::test]
async fn a_policy_of_an_operation_is_asked_beside_the_default_and_per_conversation() {
    let app = TestApp::with(|config| {
        let policy: Value = json!({"quota": 1, "window": "60s", "scope": "conversation"});
        let policy = serde_json::from_value(policy).unwrap();
        config.limits.policies.insert("costly".into(), policy);
        let both = vec!["default".to_owned(), "costly".to_owned()];
        config.limits.routes.insert("POST /api/v1/conversations/{id}/messages".into(), both);
    })
    .await;
    let add = async |id: &str| {
        let path = format!("/api/v1/conversations/{id}/messages");
        app.post(&path, json!({"role": "user", "content": "hello"})).await
    };
    let first = add("one").await;
    assert_eq!(first.status, 201);
    assert!(first.header("ratelimit-policy").contains("\"costly\";q=1;w=60"), "{first:?}");
    assert_eq!(add("one").await.body["violated-policies"], json!(["costly"]));
    assert_eq!(add("two").await.status, 201);
}
