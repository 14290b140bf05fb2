//! What answers look like.

use super::demo::{Server, eventually};
use polylogue::http::VERSION;
use polylogue::telemetry::metrics::{Method, Name};

#[tokio::test]
async fn an_unknown_path_is_a_problem() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for path in ["/nothing", "/api/v1/nothing", "/api/v1/items/", "/docs/", "/problems/nothing", "/startupz"]
    {
        client.get(path).await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let answer = client.ask("GET", "/api/v1/echo", "").await;
    answer.problem(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), Some("POST, OPTIONS"));
    let answer = client.ask("DELETE", "/livez", "").await;
    answer.problem(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS"));
    client.ask("BREW", "/docs", "").await.problem(405, "method_not_allowed");
}

#[tokio::test]
async fn broken_json_is_told_where_and_nothing_of_it_comes_back() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let answer = client.post("/api/v1/echo", "application/json", "{\"hunter2\": ").await;
    let problem = answer.problem(400, "invalid_request");
    assert_eq!(problem["detail"], "The body is not valid JSON: line 1, column 12.");
    for body in ["{\"hunter2\": 1}", "[\"hunter2\"]", "{\"text\": {\"hunter2\": 1}}", ""] {
        let answer = client.post("/api/v1/echo", "application/json", body).await;
        answer.problem(400, "invalid_request");
        assert!(!answer.text().contains("hunter2") && !answer.text().contains("Said"), "{}", answer.text());
    }
}

#[tokio::test]
async fn another_media_type_is_refused() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.post("/api/v1/echo", "text/hunter2", "{}").await.problem(415, "unsupported_media_type");
    let nothing = client.ask("POST", "/api/v1/echo", "Content-Length: 2\r\n\r\n{}").await;
    nothing.problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn a_bad_parameter_is_named() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let problem = client.get("/api/v1/items/hunter2").await.problem(400, "invalid_request");
    assert_eq!(problem["errors"][0]["parameter"], "id");
    let problem = client.get("/api/v1/items/7?limit=hunter2").await.problem(400, "invalid_request");
    assert_eq!(problem["errors"][0]["parameter"], "limit");
    assert!(!problem.to_string().contains("hunter2"), "{problem}");
}

#[tokio::test]
async fn a_panic_and_a_fault_are_500_without_their_text_and_the_connection_goes_on() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for path in ["/api/v1/panic", "/api/v1/fault"] {
        let answer = client.get(path).await;
        answer.problem(500, "internal");
        assert!(!answer.text().contains("hunter2"));
    }
    client.get("/api/v1/bare").await.problem(400, "invalid_request");
    assert_eq!(client.get("/api/v1/items/7").await.status, 200);
}

#[tokio::test]
async fn a_socket_path_without_an_upgrade_asks_for_one() {
    let server = Server::start().await;
    let answer = server.client().await.get("/api/v1/ws").await;
    answer.problem(426, "upgrade_required");
    assert_eq!(answer.header("upgrade"), Some("websocket"));
}

#[tokio::test]
async fn head_is_get_without_its_body_and_options_lists_the_methods() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let length = client.get("/api/v1/large").await.body.unwrap().len().to_string();
    let head = client.ask("HEAD", "/api/v1/large", "").await;
    assert_eq!((head.status, head.header("content-length")), (200, Some(length.as_str())));
    assert_eq!(client.ask("HEAD", "/livez", "").await.status, 200);
    assert_eq!(client.ask("HEAD", "/nothing", "").await.status, 404);
    let options = client.ask("OPTIONS", "/api/v1/large", "").await;
    assert_eq!((options.status, options.header("allow")), (204, Some("GET, HEAD, OPTIONS")));
    assert_eq!(client.get("/api/v1/items/7").await.status, 200, "no stray bytes on the connection");
}

#[tokio::test]
async fn a_valid_request_id_is_taken_over_and_anything_else_replaced() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let answered = async |client: &mut super::raw::Client, headers: &str| {
        let answer = client.ask("GET", "/nothing", headers).await;
        answer.problem(404, "not_found");
        answer.header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(answered(&mut client, "X-Request-ID: abc.DEF_1-2\r\n").await, "abc.DEF_1-2");
    assert_eq!(answered(&mut client, "X-Correlation-ID: trace-7\r\n").await, "trace-7");
    assert_eq!(answered(&mut client, "X-Request-ID: a b\r\nX-Correlation-ID: c\r\n").await, "c");
    let long = format!("X-Request-ID: {}\r\n", "x".repeat(129));
    for invalid in ["", "X-Request-ID: a/b\r\n", "X-Request-ID: \r\n", &long] {
        assert_eq!(answered(&mut client, invalid).await.len(), 16, "{invalid}");
    }
}

#[tokio::test]
async fn json_is_compressed_where_it_pays_and_streams_never() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let gzip = "Accept-Encoding: gzip\r\n";
    let large = client.ask("GET", "/api/v1/large", gzip).await;
    assert_eq!(
        (large.header("content-encoding"), large.header("vary")),
        (Some("gzip"), Some("Accept-Encoding"))
    );
    assert!(large.body.unwrap().len() < 1000);
    assert_eq!(client.get("/api/v1/large").await.header("content-encoding"), None);
    assert_eq!(client.ask("GET", "/api/v1/items/7", gzip).await.header("content-encoding"), None);
    client.send("GET /api/v1/stream HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\n\r\n").await;
    let head = String::from_utf8(client.until(b"\r\n\r\n").await.unwrap()).unwrap();
    assert!(head.contains("text/event-stream") && !head.contains("content-encoding"), "{head}");
    assert!(client.until(b"data: 1\n\n").await.is_some());
}

#[tokio::test]
async fn documents_are_served_with_tags_and_the_root_leads_to_them() {
    let server = Server::configured(|config| {
        config.server.public_url = Some("https://example.org/polylogue".to_owned().try_into().unwrap());
    })
    .await;
    let mut client = server.client().await;
    let root = client.get("/").await;
    assert_eq!((root.status, root.header("location")), (307, Some("https://example.org/polylogue/docs")));
    for path in ["/docs", "/openapi.json", "/openapi-3.0.json", "/asyncapi.yaml"] {
        let first = client.get(path).await;
        assert_eq!((first.status, first.header("cache-control")), (200, Some("no-cache")), "{path}");
        let known = format!("If-None-Match: {}\r\n", first.header("etag").unwrap());
        assert_eq!(client.ask("GET", path, &known).await.status, 304, "{path}");
    }
    let compressed = client.ask("GET", "/openapi.json", "Accept-Encoding: br\r\n").await;
    assert!(compressed.header("etag").unwrap().starts_with("W/\""), "{compressed:?}");
    let answer = client.get("/problems/turn_in_progress").await;
    assert_eq!((answer.status, &answer.json()["status"]), (200, &409.into()));
}

#[tokio::test]
async fn probes_say_their_status_and_api_answers_are_not_stored() {
    let server = Server::start().await;
    let mut client = server.client().await;
    assert_eq!(client.get("/livez").await.text(), "ok");
    let answer = client.get("/readyz").await;
    assert_eq!((answer.status, answer.text().as_str()), (503, "starting"));
    server.health().started();
    assert_eq!(client.get("/readyz").await.text(), "ok");
    assert_eq!(client.get("/version").await.json()["version"], VERSION);
    assert_eq!(client.get("/api/v1/items/7").await.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn requests_are_counted_by_pattern_and_probes_are_not() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.get("/api/v1/items/7?secret=1").await;
    client.get("/api/v1/items/8").await;
    client.ask("BREW", "/some/secret", "").await;
    client.get("/livez").await;
    let count = |method, route: &str, status: &str| {
        server.metrics().http.requests.get(&(method, Name::from(route), Name::from(status)))
    };
    eventually("three requests", || count(Method::Other, "unmatched", "404") == 1).await;
    assert_eq!(count(Method::Get, "/api/v1/items/{id}", "200"), 2);
    let text = server.metrics().render();
    assert!(!text.contains("secret") && !text.contains("livez"), "{text}");
    assert_eq!(server.metrics().http.in_flight.get(&()), 0);
}
