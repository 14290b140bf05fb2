//! Pages of other origins at the doors that browsers open without asking first.

use polylogue::config::AllowedOrigin;

use crate::support::{Answer, TestApp};

const PAGE: &str = "https://app.example";
const STRANGER: &str = "https://evil.example";

async fn start() -> TestApp {
    TestApp::with(|config| {
        config.cors.allowed_origins = vec![AllowedOrigin::try_from(PAGE.to_owned()).unwrap()];
    })
    .await
}

/// The answer to an upgrade that a page of `origin` asks for.
async fn upgrade(app: &TestApp, path: &str, origin: &str) -> u16 {
    let request = app.client.get(app.url(path)).header("Origin", origin);
    let request = request.header("Connection", "Upgrade").header("Upgrade", "websocket");
    let request = request.header("Sec-WebSocket-Version", "13");
    let response = request.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==").send().await.unwrap();
    if response.status() == 403 {
        assert_eq!(response.headers()["problem-code"], "origin_not_allowed");
    }
    response.status().as_u16()
}

async fn ticket(app: &TestApp, origin: &str) -> Answer {
    let request = app.client.post(app.url("/api/v1/chat/ws/tickets")).header("Origin", origin);
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test]
async fn only_our_own_pages_and_allowed_ones_open_a_socket() {
    let app = start().await;
    let socket = "/api/v1/chat/ws";
    assert_eq!(upgrade(&app, socket, PAGE).await, 101);
    assert_eq!(upgrade(&app, socket, &app.base).await, 101);
    for stranger in [STRANGER, "null", "http://app.example", "https://app.example.evil.example"] {
        assert_eq!(upgrade(&app, socket, stranger).await, 403, "{stranger}");
    }
    assert_eq!(app.metric("websocket_connections_rejected_total{reason=\"origin\"}"), 4.0);
}

#[tokio::test]
async fn a_foreign_page_gets_no_ticket_and_uses_none_up() {
    let app = start().await;
    let refused = ticket(&app, STRANGER).await;
    assert_eq!((refused.status, refused.code()), (403, "origin_not_allowed"));
    let given = ticket(&app, PAGE).await;
    assert_eq!(given.status, 201);
    assert_eq!(upgrade(&app, given.header("location"), STRANGER).await, 403);
    assert_eq!(upgrade(&app, given.header("location"), PAGE).await, 101);
    assert_eq!(upgrade(&app, given.header("location"), PAGE).await, 400);
}

#[tokio::test]
async fn a_foreign_page_cannot_have_anything_done() {
    let app = start().await;
    let turn = app.start_turn(serde_json::json!({"message": "hello", "personas": ["guide"]})).await;
    for (method, path) in [
        (reqwest::Method::POST, format!("/api/v1/turns/{turn}/cancel")),
        (reqwest::Method::POST, "/api/v1/turns".to_owned()),
        (reqwest::Method::DELETE, "/api/v1/conversations/talk".to_owned()),
    ] {
        let request = app.client.request(method, app.url(&path)).header("Origin", STRANGER);
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert_eq!((answer.status, answer.code()), (403, "origin_not_allowed"), "{path}");
    }
}
