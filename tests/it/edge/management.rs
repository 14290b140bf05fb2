//! The management port.

use std::sync::Arc;

use poem::http::uri::Scheme;
use poem::http::{self, Method};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Body, Endpoint as _, Request, Response};
use polylogue::http::management::{Management, StatusBoard};
use polylogue::http::{Gate, Health, VERSION};
use polylogue::telemetry::metrics::Metrics;
use serde_json::{Value, json};

struct Port {
    management: Management,
    health: Arc<Health>,
    board: Arc<StatusBoard>,
}

fn port() -> Port {
    let (health, board) = (Arc::new(Health::new()), Arc::new(StatusBoard::new()));
    let gate = Gate::new(Some(&"open sesame".into()));
    let management = Management::new(health.clone(), Arc::new(Metrics::new()), board.clone(), gate);
    Port { management, health, board }
}

impl Port {
    async fn ask(&self, method: Method, path: &str) -> Response {
        self.ask_with(method, path, Some("Bearer open sesame")).await
    }

    async fn ask_with(&self, method: Method, path: &str, authorization: Option<&str>) -> Response {
        let request = Request::builder().method(method).uri_str(path);
        let request = authorization.into_iter().fold(request, |it, text| it.header("authorization", text));
        self.management.get_response(request.finish()).await
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

#[tokio::test]
async fn only_probes_and_metrics_are_for_everybody() {
    let port = port();
    port.health.started();
    for open in ["/livez", "/readyz", "/startupz", "/version", "/metrics"] {
        assert_eq!(port.ask_with(Method::GET, open, None).await.status(), 200, "{open}");
    }
    for (path, method) in [("/status", Method::GET), ("/status", Method::POST), ("/nothing", Method::GET)] {
        for wrong in
            [None, Some("Bearer open"), Some("open sesame"), Some("Basic open sesame"), Some("Bearer ")]
        {
            let refused = port.ask_with(method.clone(), path, wrong).await;
            assert_eq!(refused.status(), 401, "{path} {wrong:?}");
            assert!(refused.headers().contains_key("www-authenticate"));
        }
    }
}

#[tokio::test]
async fn without_a_token_more_is_shown_on_the_machine_itself_only() {
    let (health, board) = (Arc::new(Health::new()), Arc::new(StatusBoard::new()));
    let management = Management::new(health, Arc::default(), board, Gate::new(None));
    let ask_from = async |peer: &str| {
        let peer = Addr::SocketAddr(peer.parse().unwrap());
        let (parts, ()) = http::Request::get("/status").body(()).unwrap().into_parts();
        let parts = (parts, LocalAddr(peer.clone()), RemoteAddr(peer), Scheme::HTTP);
        let request = Request::from_parts(parts.into(), Body::empty());
        management.get_response(request).await.status()
    };
    assert_eq!(ask_from("127.0.0.1:1").await, 200);
    assert_eq!(ask_from("[::ffff:127.0.0.1]:1").await, 200);
    assert_eq!(ask_from("192.0.2.7:1").await, 403);
}
