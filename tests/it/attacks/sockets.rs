//! WebSocket frames as no client should send them (RFC 6455).

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::target::Target;
use super::watch::Watch;

const UPGRADE: &str = "GET /api/v1/chat/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A masked frame; the mask is zero, so that the payload is what it is.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = match payload.len() {
        short @ 0..126 => vec![0x80 | u8::try_from(short).unwrap()],
        long => [vec![0xff], (long as u64).to_be_bytes().to_vec()].concat(),
    };
    [vec![first], length, vec![0; 4], payload.to_vec()].concat()
}

async fn open(target: &Target) -> TcpStream {
    let mut stream = target.attacker().await;
    stream.write_all(UPGRADE.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !seen.windows(5).any(|window| window == b"hello") {
        assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0, "{}", String::from_utf8_lossy(&seen));
    }
    stream
}

/// The close code that the server's last frame has; 0 if the connection just ended.
async fn close_code(target: &Target, attack: &[u8]) -> u16 {
    let stream = open(target).await;
    let (mut reading, mut writing) = stream.into_split();
    let sending = async {
        drop(writing.write_all(attack).await);
        std::future::pending::<()>().await;
    };
    let reading = async {
        let mut all = Vec::new();
        while reading.read_buf(&mut all).await.is_ok_and(|read| read > 0) {}
        all
    };
    let reading = tokio::time::timeout(std::time::Duration::from_secs(20), reading);
    let all = tokio::select! { all = reading => all.expect("neither answered nor closed"), () = sending => Vec::new() };
    let close = all.iter().rposition(|byte| *byte == 0x88);
    close.and_then(|at| Some(u16::from_be_bytes([*all.get(at + 2)?, *all.get(at + 3)?]))).unwrap_or(0)
}

async fn all_close(target: &Target, attack: &[u8], expected: u16) {
    let codes = join_all((0..20).map(|_| close_code(target, attack))).await;
    // 0: the close was lost with the connection, because the attack was still being sent.
    assert!(codes.iter().all(|code| [expected, 0].contains(code)), "{codes:?} instead of {expected}");
}

#[tokio::test]
async fn frames_that_break_the_protocol_close_the_socket() {
    let target = Target::start(&["websocket.max_per_client=1000"]).await;
    let watch = Watch::begin(&target);
    let mut unmasked = frame(0x81, b"{}");
    unmasked[1] &= 0x7f;
    let announced = [&[0x81, 0xff][..], &(1_u64 << 62).to_be_bytes(), &[0; 4], &[b' '; 1000]].concat();
    let long_ping = frame(0x89, &[0; 200]);
    let fragments: Vec<u8> = [frame(0x01, &[b' '; 60_000])]
        .into_iter()
        .chain((0..40).map(|_| frame(0x00, &[b' '; 60_000])))
        .flatten()
        .collect();
    for (attack, code) in [
        (unmasked, 1002),
        (frame(0xc1, b"{}"), 1002),
        (frame(0x00, b"{}"), 1002),
        (long_ping, 1002),
        (frame(0x81, &[0xff, 0xfe]), 1007),
        (frame(0x82, b"{}"), 1003),
        (announced, 1009),
        (frame(0x81, &vec![b' '; 1 << 20]), 1009),
        (fragments, 1009),
    ] {
        all_close(&target, &attack, code).await;
    }
    watch
        .ends(
            "WebSocket frames: unmasked, reserved, huge, fragments, 180 sockets",
            "1002, 1003, 1007, 1009",
            100,
        )
        .await;
}

#[tokio::test]
async fn floods_of_frames_close_the_socket() {
    let target = Target::start(&["websocket.max_per_client=1000"]).await;
    let watch = Watch::begin(&target);
    for piece in [frame(0x81, b"{\"type\":\"ping\"}"), frame(0x81, b"x"), frame(0x89, b"x")] {
        all_close(&target, &piece.repeat(20_000), 1008).await;
    }
    watch.ends("WebSocket frame floods, 60 sockets × 20,000 frames", "1008", 100).await;
}
