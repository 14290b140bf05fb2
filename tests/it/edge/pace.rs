//! How long a connection may take for what, in paused time.

use std::time::Duration;

use polylogue::http::accept::{Acceptor, Settings};
use polylogue::telemetry::metrics::ConnectionEnd;
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::demo::app;
use super::raw::Client;

/// One connection over a pipe, and the moment it ended and why.
struct Connection {
    client: Client<DuplexStream>,
    began: Instant,
    ended: JoinHandle<(ConnectionEnd, Instant)>,
}

fn connection_with(pipe: usize, change: impl FnOnce(&mut Settings)) -> Connection {
    let (ours, theirs) = tokio::io::duplex(pipe);
    let (app, services, _) = app(|_| {});
    let mut settings = Settings::public(&services.config.server);
    change(&mut settings);
    let acceptor = Acceptor::new(app, settings, None, services.shutdown.clone());
    let address = ([192, 0, 2, 7], 4711).into();
    #[expect(clippy::disallowed_methods, reason = "a test waits for the connection itself")]
    let ended = tokio::spawn(async move {
        (acceptor.serve_connection(theirs, address, address, None).await, Instant::now())
    });
    Connection { client: Client::over(ours), began: Instant::now(), ended }
}

fn connection() -> Connection {
    connection_with(64 * 1024, |_| {})
}

impl Connection {
    async fn end(self) -> (ConnectionEnd, u64) {
        let (end, at) = self.ended.await.unwrap();
        (end, (at - self.began).as_secs())
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_header_has_ten_seconds_from_accept() {
    for beginning in ["", "PRI * HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET /version HTTP/1.1\r\nHo"] {
        let mut connection = connection();
        sleep(Duration::from_secs(4)).await;
        connection.client.send(beginning).await;
        assert_eq!(connection.end().await, (ConnectionEnd::HeaderTimeout, 10), "{beginning:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_that_drips_has_no_longer() {
    let mut connection = connection();
    connection.client.send("GET /version HTTP/1.1\r\n").await;
    for _ in 0..9 {
        sleep(Duration::from_secs(1)).await;
        connection.client.send("A: b\r\n").await;
    }
    assert_eq!(connection.end().await, (ConnectionEnd::HeaderTimeout, 10));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_for_620_seconds() {
    let mut connection = connection();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(connection.client.get("/version").await.status, 200);
    sleep(Duration::from_secs(619)).await;
    assert_eq!(connection.client.get("/version").await.status, 200);
    assert_eq!(connection.end().await, (ConnectionEnd::IdleTimeout, 5 + 619 + 620));
}

#[tokio::test(start_paused = true)]
async fn a_later_header_has_ten_seconds_from_its_first_byte() {
    let mut connection = connection();
    assert_eq!(connection.client.get("/version").await.status, 200);
    sleep(Duration::from_secs(300)).await;
    connection.client.send("G").await;
    sleep(Duration::from_secs(9)).await;
    connection.client.send("ET /version HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!(connection.client.answer().await.status, 200);
    sleep(Duration::from_secs(100)).await;
    connection.client.send("GET /version HT").await;
    assert_eq!(connection.end().await, (ConnectionEnd::HeaderTimeout, 300 + 9 + 100 + 10));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_being_answered_has_no_such_limit() {
    let mut connection = connection();
    connection.client.send("GET /api/v1/stream HTTP/1.1\r\nHost: test\r\n\r\n").await;
    connection.client.until(b"data: 1\n\n").await.unwrap();
    sleep(Duration::from_secs(24 * 3600)).await;
    assert!(!connection.ended.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_for_ten_seconds_is_cut_off() {
    let mut connection = connection_with(512, |_| {});
    connection.client.send("GET /api/v1/large HTTP/1.1\r\nHost: test\r\n\r\n").await;
    sleep(Duration::from_secs(8)).await;
    connection.client.exactly(100).await.unwrap();
    assert_eq!(connection.end().await, (ConnectionEnd::Limit, 18));
}

#[tokio::test(start_paused = true)]
async fn garbage_is_a_protocol_error_and_a_departure_is_none() {
    let mut connection_one = connection();
    connection_one.client.send("\u{1}\u{2}\r\n\r\n").await;
    assert_eq!(connection_one.end().await, (ConnectionEnd::ProtocolError, 0));
    let Connection { client, ended, .. } = connection();
    drop(client);
    assert_eq!(ended.await.unwrap().0, ConnectionEnd::Done);
}

#[tokio::test(start_paused = true)]
async fn with_the_proxy_protocol_only_such_connections_are_taken_and_in_time() {
    const HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\xc0\0\x02\x01\x12\x34\x01\xbb";
    let with_proxy = || connection_with(4096, |settings| settings.proxy_protocol = true);
    let mut proper = with_proxy();
    proper.client.send(HEADER).await;
    assert_eq!(proper.client.get("/version").await.status, 200);
    let mut plain = with_proxy();
    plain.client.send("GET /version HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!(plain.end().await, (ConnectionEnd::ProtocolError, 0));
    let mut half = with_proxy();
    half.client.send(&HEADER[..14]).await;
    assert_eq!(half.end().await, (ConnectionEnd::HeaderTimeout, 10));
}
