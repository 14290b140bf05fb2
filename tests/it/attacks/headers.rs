//! Headers that never end, in time or in size.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::AsyncWriteExt as _;
use tokio::time::sleep;

use super::target::{Target, read_to_end, status};
use super::watch::Watch;

/// Sends `head`, and then a little more again and again until the server has had enough.
async fn drip(target: &Target, head: &str, more: &str) -> Vec<u8> {
    let mut stream = target.attacker().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let read = async {
        let mut all = Vec::new();
        while tokio::io::AsyncReadExt::read_buf(&mut reading, &mut all).await.is_ok_and(|read| read > 0) {}
        all
    };
    let write = async {
        while writing.write_all(more.as_bytes()).await.is_ok() {
            sleep(Duration::from_millis(100)).await;
        }
        // The other half sees the end.
        std::future::pending::<()>().await;
    };
    tokio::select! { all = read => all, () = write => Vec::new() }
}

#[tokio::test]
async fn slow_headers_are_cut() {
    let target = Target::start(&[]).await;
    let watch = Watch::begin(&target);
    let dripping =
        (0..200).map(|_| drip(&target, "GET /api/v1/personas HTTP/1.1\r\nHost: a\r\n", "X-A: b\r\n"));
    join_all(dripping).await;
    target.has_closed("header_timeout", 200).await;
    watch.ends("slow headers, 200 connections", "cut after header_timeout", 100).await;
}

#[tokio::test]
async fn slow_bodies_are_answered_408() {
    let target = Target::start(&[]).await;
    let watch = Watch::begin(&target);
    let head = "POST /api/v1/chat HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9000\r\n\r\n";
    let answers = join_all((0..200).map(|_| drip(&target, head, "{"))).await;
    assert!(answers.iter().all(|answer| status(answer) == 408), "{:?}", answers.first());
    watch.ends("slow bodies, 200 connections", "408 after body_timeout", 100).await;
}

#[tokio::test]
async fn header_bombs_are_refused() {
    let target = Target::start(&[]).await;
    let watch = Watch::begin(&target);
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(10_000));
    let huge = format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "b".repeat(8 << 20));
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "b".repeat(8 << 20));
    for _ in 0..20 {
        let answers = join_all([&many, &huge, &long].map(|bomb| async {
            let mut stream = target.attacker().await;
            drop(stream.write_all(bomb.as_bytes()).await);
            status(&read_to_end(&mut stream).await)
        }));
        // 0: reset before the refusal could be read, because the rest of the bomb was still on its way.
        assert!(answers.await.iter().all(|status| [0, 400, 414, 431].contains(status)));
    }
    target.has_closed("protocol_error", 60).await;
    watch.ends("header bombs, 60 of 10,000 fields or 8 MiB", "431, 414 or closed", 100).await;
}
