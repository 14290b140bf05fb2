//! Readers that do not read.

use futures_util::future::join_all;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;

use super::frames::{Frame, GOAWAY, HEADERS, Http2, PING, RST_STREAM, WINDOW, get, post, setting};
use super::target::Target;
use super::watch::Watch;
use crate::support::{Client, eventually};

const CHAT: &str = r#"{"message":"hello","personas":["guide"]}"#;

#[tokio::test]
async fn who_does_not_read_an_http1_answer_is_cut() {
    let target = Target::start(&[]).await;
    let watch = Watch::begin(&target);
    let many = "GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n".repeat(500);
    let reading = join_all((0..50).map(|_| async {
        let mut stream = target.attacker().await;
        drop(tokio::time::timeout(Duration::from_secs(1), stream.write_all(many.as_bytes())).await);
        stream
    }))
    .await;
    target.has_closed("limit", 50).await;
    drop(reading);
    watch
        .ends(
            "slow read of JSON, HTTP/1.1, 50 connections × 500 requests",
            "cut after slow_reader_timeout",
            200,
        )
        .await;
}

#[tokio::test]
async fn who_does_not_read_an_event_stream_is_cut() {
    let target = Target::start(&["simulator.tokens=1000", "limits.policies.resume.quota=1000000"]).await;
    let client = Client::of(&target.address.to_string());
    let turn = client.post("/api/v1/chat", serde_json::from_str(CHAT).unwrap()).await;
    let turn = turn.header("turn-id").to_owned();
    let watch = Watch::begin_reading(&target);
    // One after the other on each connection: more than all buffers between here and there hold.
    let request = format!("GET /api/v1/turns/{turn}/events HTTP/1.1\r\nHost: a\r\n\r\n").repeat(100);
    let reading = join_all((0..20).map(|_| async {
        let mut stream = target.attacker().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }))
    .await;
    wait_for(&target, "sse_streams_closed_total{reason=\"slow_reader\"}", 20.0).await;
    drop(reading);
    let attack = "slow read of events, HTTP/1.1, 20 connections × 100 streams";
    watch.ends(attack, "cut after slow_reader_timeout", 200).await;
}

/// A slow machine takes its time.
async fn wait_for(target: &Target, series: &str, value: f64) {
    for _ in 0..15 {
        if target.metric(series).await >= value {
            return;
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    eventually(series, async || target.metric(series).await >= value).await;
}

#[tokio::test]
async fn who_never_opens_an_http2_window_loses_the_request_and_not_the_connection() {
    let target = Target::start(&[]).await;
    let watch = Watch::begin(&target);
    for window in [0, 1, 5_000] {
        let results = join_all((0..10).map(|_| shut(&target, window))).await;
        assert_eq!(results, [true; 10], "with a window of {window}");
    }
    wait_for(&target, "sse_streams_closed_total{reason=\"slow_reader\"}", 300.0).await;
    assert_eq!(target.metric("sse_streams").await, 0.0);
    watch
        .ends(
            "zero and small windows, HTTP/2, 30 connections × 60 requests",
            "each reset after slow_reader_timeout",
            200,
        )
        .await;
}

/// Asks for fifty documents and ten streams, and lets in no more of each than `window`; whether each was reset, with the
/// connection still good for a ping.
async fn shut(target: &Target, window: u32) -> bool {
    let mut client = Http2::begin(target.attacker().await, &setting(WINDOW, window)).await;
    let documents = (0..50).flat_map(|n| get(2 * n + 1, "/openapi.json"));
    let streams = (50..60).flat_map(|n| post(2 * n + 1, "/api/v1/chat/stream", CHAT));
    assert!(client.send(&documents.chain(streams).collect::<Vec<_>>()).await);
    let mut reset = std::collections::BTreeSet::new();
    while reset.len() < 60 {
        match client.next().await {
            Some(Frame { kind: RST_STREAM, stream, .. }) => drop(reset.insert(stream)),
            Some(Frame { kind: GOAWAY, .. }) | None => return false,
            Some(_) => {}
        }
    }
    client.send(&super::frames::frame(PING, 0, 0, &[1; 8])).await;
    loop {
        match client.next().await {
            Some(Frame { kind: PING, flags: 1, .. }) => return true,
            Some(Frame { kind: HEADERS, .. }) | None => return false,
            Some(_) => {}
        }
    }
}
