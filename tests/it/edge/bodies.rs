//! Bodies: too large, too slow, cut.

use super::demo::Server;

const MEBIBYTE: usize = 1024 * 1024;

fn json_of(bytes: usize) -> String {
    format!("{{\"text\":\"{}\"}}", "a".repeat(bytes - 11))
}

#[tokio::test]
async fn a_body_up_to_the_limit_is_taken() {
    let server = Server::start().await;
    let body = json_of(512 * 1024);
    assert_eq!(server.client().await.post("/api/v1/echo", "application/json", &body).await.status, 200);
}

#[tokio::test]
async fn a_larger_one_is_413_and_the_connection_goes_on() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let answer = client.post("/api/v1/echo", "application/json", &json_of(MEBIBYTE)).await;
    let problem = answer.problem(413, "payload_too_large");
    assert_eq!(problem["detail"], "The body may have 524288 bytes.");
    assert_eq!(client.get("/api/v1/items/7").await.status, 200);
}

#[tokio::test]
async fn an_announced_length_over_the_limit_is_413_before_a_byte_of_it() {
    let server = Server::start().await;
    for expect in ["", "Expect: 100-continue\r\n"] {
        let headers = format!("Content-Type: application/json\r\nContent-Length: {MEBIBYTE}\r\n{expect}");
        server.client().await.ask("POST", "/api/v1/echo", &headers).await.problem(413, "payload_too_large");
    }
}

#[tokio::test]
async fn a_chunked_body_over_the_limit_is_413() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let head = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
    client.send(format!("POST /api/v1/echo HTTP/1.1\r\nHost: test\r\n{head}\r\n")).await;
    let chunk = "a".repeat(64 * 1024);
    for _ in 0..16 {
        client.send(format!("{:x}\r\n{chunk}\r\n", chunk.len())).await;
    }
    client.send("0\r\n\r\n").await;
    client.answer().await.problem(413, "payload_too_large");
    assert_eq!(client.get("/api/v1/items/7").await.status, 200);
}

#[tokio::test]
async fn a_body_that_stops_arriving_is_408() {
    let server = Server::configured(|config| {
        config.server.body_timeout.0 = std::time::Duration::from_millis(100);
    })
    .await;
    let mut client = server.client().await;
    let headers = "Content-Type: application/json\r\nContent-Length: 20\r\n";
    client.send(format!("POST /api/v1/echo HTTP/1.1\r\nHost: test\r\n{headers}\r\n{{\"te")).await;
    client.answer().await.problem(408, "request_timeout");
}

#[tokio::test]
async fn a_body_with_broken_chunks_is_400() {
    let server = Server::start().await;
    let head = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
    let mut client = server.client().await;
    client.send(format!("POST /api/v1/echo HTTP/1.1\r\nHost: test\r\n{head}\r\nnonsense\r\n")).await;
    client.answer().await.problem(400, "invalid_request");
}

#[tokio::test]
async fn an_answer_that_fails_half_way_is_seen_as_cut() {
    let server = Server::start().await;
    let answer = server.client().await.get("/api/v1/torn").await;
    assert_eq!((answer.status, answer.body), (200, None));
}

#[tokio::test]
async fn a_compressed_body_is_refused_as_such() {
    let server = Server::start().await;
    let headers = "Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}";
    let answer = server.client().await.ask("POST", "/api/v1/echo", headers).await;
    answer.problem(415, "unsupported_media_type");
}
