//! Whatever strangers send, the number of series stays below the bound that the catalogue states.

use std::collections::BTreeSet;

use polylogue::telemetry::metrics::catalogue;
use reqwest::Method;
use serde_json::json;

use crate::support::TestApp;

/// The series that `/metrics` shows, without their values.
fn series(app: &TestApp) -> BTreeSet<String> {
    let text = app.app.services().metrics.render();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series.to_owned()).collect()
}

const METHODS: [&str; 12] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "X", "get", "PURGE-7"];

/// Every path there is, with parts of a stranger's choice, and some that are not.
fn paths(salt: &str) -> Vec<String> {
    let api = polylogue::http::api::OPERATIONS.iter().map(|(_, path, _)| *path);
    let known =
        ["/api/v1/chat/ws", "/api/v1/chat/ws/tickets", "/", "/docs", "/problems/{code}", "/openapi.json"];
    let unknown = [
        "/{id}",
        "/api/v1/{id}",
        "/api/v2/chat",
        "/metrics",
        "/status",
        "/docs/{id}",
        "//",
        "/api/v1/personas/",
    ];
    let all: BTreeSet<_> = api.chain(known).chain(unknown).collect();
    let fill = |path: &str| path.replace("{id}", salt).replace("{turn_id}", salt).replace("{code}", salt);
    all.into_iter().map(fill).collect()
}

/// Every method on every path, each with headers and a body that name things nobody knows.
async fn storm(app: &TestApp, salt: &str) {
    let bodies = [
        json!({"message": format!("@{salt} hello"), "personas": [salt]}),
        json!({"message": format!("@guide {salt}"), "conversation_id": salt, "metadata": {salt: salt}}),
        json!({salt: salt}),
    ];
    for path in paths(salt) {
        for method in METHODS {
            for body in &bodies {
                let method = Method::from_bytes(method.as_bytes()).unwrap();
                let request = app.client.request(method, app.url(&path)).json(body);
                let headers = [
                    "x-forwarded-for",
                    "forwarded",
                    "user-agent",
                    "authorization",
                    "idempotency-key",
                    "traceparent",
                    "baggage",
                    "x-request-id",
                    "host",
                    "origin",
                    "sec-websocket-protocol",
                    "last-event-id",
                    salt,
                ];
                let request = headers.iter().fold(request, |request, name| request.header(*name, salt));
                drop(request.send().await.unwrap().bytes().await);
            }
        }
    }
    frames(app, salt).await;
}

/// A socket on which a stranger says what there is not.
async fn frames(app: &TestApp, salt: &str) {
    let mut socket = app.socket().await;
    for kind in [salt, "chat", "resume", "cancel", "auth", "ping", "event", "error"] {
        socket
            .send(json!({"type": kind, "ref": salt, "message": salt, "personas": [salt], "turn_id": salt}))
            .await;
    }
    socket.send(json!({"type": "chat", "ref": "last", "message": "@guide hello"})).await;
    while socket.next().await.unwrap()["type"] != "turn.completed" {}
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_cannot_make_more_series_than_the_catalogue_states() {
    let app = TestApp::start().await;
    storm(&app, "first-1").await;
    let (after_one, bound) = (series(&app), catalogue::most_series());
    assert!(after_one.len() > 300 && after_one.len() < bound, "{} of {bound}", after_one.len());
    let pairs: BTreeSet<_> = after_one
        .iter()
        .filter(|series| series.starts_with("polylogue_http_requests_total"))
        .map(|series| series.split(",status=").next())
        .collect();
    assert!(pairs.len() <= 14 + 12 + 18 + 1, "{pairs:#?}");
    storm(&app, "second-2").await;
    let new: Vec<_> = series(&app).difference(&after_one).cloned().collect();
    assert!(new.is_empty(), "other words made other series: {new:#?}");
}
