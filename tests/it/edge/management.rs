//! The management port.

use std::sync::Arc;

use poem::http::Method;
use poem::{Endpoint as _, Request, Response};
use polylogue::http::management::{Management, StatusBoard};
use polylogue::http::{Health, VERSION};
use polylogue::telemetry::metrics::Metrics;
use serde_json::{Value, json};

struct Port {
    management: Management,
    health: Arc<Health>,
    board: Arc<StatusBoard>,
}

fn port() -> Port {
    let (health, board) = (Arc::new(Health::new()), Arc::new(StatusBoard::new()));
    let management = Management::new(health.clone(), Arc::new(Metrics::new()), board.clone());
    Port { management, health, board }
}

impl Port {
    async fn ask(&self, method: Method, path: &str) -> Response {
        self.management.get_response(Request::builder().method(method).uri_str(path).finish()).await
    }

    async fn get(&self, path: &str) -> String {
        self.ask(Method::GET, path).await.into_body().into_string().await.unwrap()
    }
}

#[tokio::test]
async fn metrics_tell_readiness_as_it_is_when_asked() {
    let port = port();
    port.health.started();
    let response = port.ask(Method::GET, "/metrics").await;
    assert_eq!(response.content_type(), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = port.get("/metrics").await;
    assert!(text.contains("polylogue_ready 1") && text.contains("polylogue_draining 0"), "{text}");
    port.health.draining();
    let text = port.get("/metrics").await;
    assert!(text.contains("polylogue_ready 0") && text.contains("polylogue_draining 1"), "{text}");
}

#[tokio::test]
async fn status_shows_what_each_part_has_registered() {
    let port = port();
    port.board.register("breakers", || json!({"simulator": "closed"}));
    port.board.register("redis", || json!("up"));
    let status: Value = serde_json::from_str(&port.get("/status").await).unwrap();
    assert_eq!((&status["version"], &status["readiness"]), (&json!(VERSION), &json!("starting")));
    assert_eq!((&status["breakers"]["simulator"], &status["redis"]), (&json!("closed"), &json!("up")));
    assert_eq!(status["connections"], json!({"tcp": 0, "websocket": 0, "sse": 0}));
}

#[tokio::test]
async fn errors_are_problems_here_too() {
    let port = port();
    let unknown = port.ask(Method::GET, "/nothing").await;
    assert_eq!((unknown.status().as_u16(), unknown.content_type()), (404, Some("application/problem+json")));
    let wrong = port.ask(Method::POST, "/metrics").await;
    assert_eq!((wrong.status().as_u16(), wrong.header("allow")), (405, Some("GET, HEAD")));
}
