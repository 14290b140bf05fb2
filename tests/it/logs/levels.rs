//! Which lines are written can be changed while the process runs.

use serde_json::json;

use crate::support::replicas::{Plan, Replica};
use crate::support::{Answer, eventually, model};

const DEBUG: &str = "rate_limit_identifier_from_connection";

async fn put(replica: &Replica, body: impl Into<reqwest::Body>) -> Answer {
    let request = replica.management.client.put(replica.management.url("/log-level")).body(body);
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test]
async fn a_filter_is_put_in_force_and_taken_back_while_the_process_runs() {
    let (simulator, _) = model().await;
    let replica = Plan::on(&simulator).start().await;
    assert_eq!(replica.management.get("/log-level").await.body, json!({"filter": "info"}));
    put(&replica, json!({"filter": "warn"}).to_string()).await;
    assert_eq!(replica.management.get("/log-level").await.body, json!({"filter": "warn"}));
    replica.client.get("/api/v1/personas").await;

    let answer = put(&replica, json!({"filter": "info,polylogue=debug"}).to_string()).await;

    assert_eq!((answer.status, answer.body), (200, json!({"filter": "info,polylogue=debug"})));
    replica.client.get("/api/v1/personas").await;
    eventually("debug is written", async || replica.logged(DEBUG).len() == 1).await;
    let line = &replica.logged(DEBUG)[0];
    assert!(line["request_id"].is_string() && line["trace_id"].is_string(), "{line}");

    put(&replica, json!({"filter": "error"}).to_string()).await;
    replica.client.get("/api/v1/personas").await;
    put(&replica, json!({"filter": "info"}).to_string()).await;
    replica.client.get("/api/v1/personas").await;
    eventually("info is written", async || replica.logged("request_finished").len() == 2).await;
    assert_eq!(replica.logged(DEBUG).len(), 1);
}

#[tokio::test]
async fn what_is_no_filter_changes_nothing() {
    let (simulator, _) = model().await;
    let replica = Plan::on(&simulator).start().await;
    let long = json!({"filter": "info,".repeat(1_000)}).to_string();
    let wrong = [
        "",
        "{}",
        "info",
        r#"{"filter": 1}"#,
        r#"{"filter": "polylogue=loud"}"#,
        r#"{"filter":"info","x":1}"#,
    ];
    for body in wrong.into_iter().chain([long.as_str(), &"x".repeat(9_000)]) {
        let answer = put(&replica, body.to_owned()).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_request"), "{body:.80}");
    }
    assert_eq!(replica.management.post("/log-level", json!({})).await.status, 405);
    assert_eq!(replica.management.get("/log-level").await.body, json!({"filter": "info"}));
    let public = replica.client.get("/log-level").await;
    assert_eq!(public.status, 404, "only on the management port");
}
