//! Who leaves: clients in the middle of something, and the server.

use std::time::Duration;

use super::demo::{Server, eventually};
use super::raw::Client;
use polylogue::telemetry::metrics::{ConnectionEnd, Method, Name};

#[tokio::test]
async fn a_client_that_leaves_ends_its_handler_at_once_and_counts_as_499() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.send("GET /api/v1/slow HTTP/1.1\r\nHost: test\r\n\r\n").await;
    eventually("the handler runs", || server.stage.alive() == 1).await;
    drop(client);
    eventually("the handler is gone", || server.stage.alive() == 0).await;
    let labels = (Method::Get, Name::from("/api/v1/slow"), Name::from("499"));
    eventually("it is counted", || server.metrics().http.requests.get(&labels) == 1).await;
}

#[tokio::test]
async fn a_reader_that_leaves_ends_its_silent_stream_at_once() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.send("GET /api/v1/stream HTTP/1.1\r\nHost: test\r\n\r\n").await;
    client.until(b"data: 1\n\n").await.unwrap();
    assert_eq!(server.stage.alive(), 1);
    drop(client);
    eventually("the stream is gone", || server.stage.alive() == 0).await;
}

#[tokio::test]
async fn a_full_house_lets_connections_wait_until_one_leaves() {
    let server = Server::configured(|config| config.server.max_connections = 1.try_into().unwrap()).await;
    let mut first = server.client().await;
    assert_eq!(first.get("/livez").await.status, 200);
    let mut second = server.client().await;
    let waiting = tokio::time::timeout(Duration::from_millis(50), second.get("/livez")).await;
    assert!(waiting.is_err(), "served beyond the limit");
    drop(first);
    assert_eq!(second.answer().await.status, 200);
}

#[tokio::test]
async fn http2_is_served_with_prior_knowledge() {
    let server = Server::start().await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let answer = client.get(server.url("/api/v1/items/7")).send().await.unwrap();
    assert_eq!((answer.version(), answer.status().as_u16()), (http::Version::HTTP_2, 200));
    let answer = client.get(server.url("/api/v1/panic")).send().await.unwrap();
    assert_eq!((answer.version(), answer.status().as_u16()), (http::Version::HTTP_2, 500));
}

#[tokio::test]
async fn while_draining_every_answer_says_goodbye_and_new_connections_are_still_served() {
    let server = Server::start().await;
    let mut before = server.client().await;
    assert_eq!(before.get("/api/v1/items/7").await.header("connection"), None);
    server.services.shutdown.draining().cancel();
    let mut after = server.client().await;
    for client in [&mut before, &mut after] {
        let answer = client.get("/api/v1/items/7").await;
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        assert!(client.is_closed().await);
    }
}

#[tokio::test]
async fn while_draining_http2_clients_are_sent_goaway() {
    const GET_LIVEZ: &[u8] = b"\x00\x00\x0a\x01\x05\x00\x00\x00\x01\x82\x86\x04\x06/livez";
    let server = Server::start().await;
    let mut client = server.client().await;
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").await;
    client.send(GET_LIVEZ).await;
    while frame_type(&mut client).await != 1 {}
    server.services.shutdown.draining().cancel();
    while frame_type(&mut client).await != 7 {}
}

async fn frame_type(client: &mut Client) -> u8 {
    let head = client.exactly(9).await.expect("another frame");
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    client.exactly(length).await.unwrap();
    head[3]
}

#[tokio::test]
async fn a_closing_server_finishes_what_runs_and_leaves_nobody_hanging() {
    let server = Server::start().await;
    let (mut busy, mut idle, mut silent) =
        (server.client().await, server.client().await, server.client().await);
    idle.get("/livez").await;
    busy.send("GET /api/v1/slow HTTP/1.1\r\nHost: test\r\n\r\n").await;
    eventually("the handler runs", || server.stage.alive() == 1).await;
    eventually("all are accepted", || server.metrics().connections.open.get(&()) == 3).await;

    server.services.shutdown.draining().cancel();
    server.services.shutdown.closing().cancel();
    assert!(idle.is_closed().await && silent.is_closed().await);
    assert!(!server.serving.is_finished(), "a request is running");
    server.stage.go_on.notify_one();
    let answer = busy.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    drop(busy);
    tokio::time::timeout(Duration::from_secs(5), server.serving).await.unwrap().unwrap();
    let connections = &server.services.metrics.connections;
    assert_eq!((connections.open.get(&()), connections.closed.get(&(ConnectionEnd::Drain,))), (0, 3));
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn the_hard_signal_cuts_what_still_runs() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.send("GET /api/v1/slow HTTP/1.1\r\nHost: test\r\n\r\n").await;
    eventually("the handler runs", || server.stage.alive() == 1).await;
    server.services.shutdown.closing().cancel();
    server.services.shutdown.hard().cancel();
    assert!(client.is_closed().await);
    tokio::time::timeout(Duration::from_secs(5), server.serving).await.unwrap().unwrap();
    eventually("the handler is gone", || server.stage.alive() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn liveness_fails_when_the_accept_loop_no_longer_runs() {
    let server = Server::start().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(server.health().is_alive());
    server.serving.abort();
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(!server.health().is_alive());
}
