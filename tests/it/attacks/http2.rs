//! Floods of HTTP/2 frames.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout};

use super::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2, PING, RST_STREAM, SETTINGS,
    frame, get, request,
};
use super::target::Target;
use super::watch::Watch;

const CALM: u32 = 11;
/// `:status: 431` as HPACK has it, in Huffman's code.
const STATUS_431: &[u8] = &[0x48, 0x83, 0x69, 0x90, 0xff];
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// Sends as long as the server takes it, but not for ever; reads meanwhile if it is told to.
async fn flood(target: &Target, open: &[u8], piece: &[u8], reads: bool) -> bool {
    let client = Http2::begin(target.attacker().await, &[]).await;
    let (mut reading, mut writing) = client.0.into_split();
    let sending = async {
        use tokio::io::AsyncWriteExt as _;
        let until = Instant::now() + Duration::from_secs(3);
        if writing.write_all(open).await.is_err() {
            return false;
        }
        while Instant::now() < until {
            match timeout(Duration::from_secs(5), writing.write_all(piece)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return false,
                Err(_) => panic!("neither taken nor cut"),
            }
        }
        true
    };
    let swallowing = async {
        use tokio::io::AsyncReadExt as _;
        let mut buffer = vec![0; 65536];
        while reads && reading.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        std::future::pending::<bool>().await
    };
    tokio::select! { taken = sending => taken, never = swallowing => never }
}

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let target = Target::start(&[]).await;
    let watch = Watch::begin(&target);
    let resets: Vec<u8> = (0..10_000_u32)
        .flat_map(|n| [get(2 * n + 1, "/api/v1/personas"), frame(RST_STREAM, 0, 2 * n + 1, &CANCEL)].concat())
        .collect();
    let attack = async |_: u32| {
        let mut client = Http2::begin(target.attacker().await, &[]).await;
        client.send(&resets).await;
        client.goodbye().await
    };
    let goodbyes = join_all((0..20).map(attack)).await;
    assert!(goodbyes.iter().all(|code| code.is_none_or(|code| code == CALM)), "{goodbyes:?}");
    target.has_closed("protocol_error", 20).await;
    watch.ends("rapid reset, 20 × 10,000 streams", "GOAWAY ENHANCE_YOUR_CALM, closed", 100).await;
}

#[tokio::test]
async fn continuations_without_end_end_the_connection() {
    let target = Target::start(&[]).await;
    let watch = Watch::begin(&target);
    let open = frame(HEADERS, END_STREAM, 1, &request("GET", "/"));
    for piece in [vec![], vec![0; 1], letter_fields(120)] {
        let piece = frame(CONTINUATION, 0, 1, &piece);
        let taken = join_all((0..20).map(|_| flood(&target, &open, &piece, false))).await;
        assert!(!taken.contains(&true), "a flood of {} bytes each went on for ever", piece.len());
    }
    target.has_closed("protocol_error", 60).await;
    watch.ends("CONTINUATION flood, 60 connections", "GOAWAY, closed", 100).await;
}

#[tokio::test]
async fn floods_of_small_frames_cost_no_memory() {
    let target = Target::start(&[]).await;
    let watch = Watch::begin(&target);
    let open = frame(HEADERS, END_HEADERS, 1, &request("POST", "/api/v1/chat"));
    let floods = [
        frame(SETTINGS, 0, 0, &[]).repeat(1_000),
        frame(PING, 0, 0, &[7; 8]).repeat(1_000),
        frame(PING, ACK, 0, &[7; 8]).repeat(1_000),
        frame(DATA, 0, 1, &[]).repeat(1_000),
    ];
    let mut going = 0;
    for piece in &floods {
        for reads in [true, false] {
            let taken = join_all((0..3).map(|_| flood(&target, &open, piece, reads))).await;
            going += taken.iter().filter(|taken| **taken).count();
        }
    }
    let server = format!("{going} of 24 served in constant memory, the others closed");
    watch.ends("SETTINGS, PING and empty DATA floods, 24 × 3 s", &server, 100).await;
}

/// So many fields of 126 bytes, indexed nowhere.
fn letter_fields(count: usize) -> Vec<u8> {
    [b"\0\x01a\x7e".as_slice(), &[b'b'; 126]].concat().repeat(count)
}

/// One field of 126 bytes that is remembered, and asked for in one byte each from then on (an HPACK bomb).
fn indexed_fields(count: usize) -> Vec<u8> {
    [b"\x40\x01a\x7e".as_slice(), &[b'b'; 126], &vec![0xbe; count]].concat()
}

#[tokio::test]
async fn lists_of_fields_have_a_bound_however_they_are_packed() {
    let target = Target::start(&[]).await;
    let watch = Watch::begin(&target);
    for bomb in [letter_fields(110), indexed_fields(10_000)] {
        for _ in 0..20 {
            let mut client = Http2::begin(target.attacker().await, &[]).await;
            let fields = [request("GET", "/"), bomb.clone()].concat();
            client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields)).await;
            let answer = loop {
                match client.next().await {
                    Some(frame) if [HEADERS, RST_STREAM, GOAWAY].contains(&frame.kind) => break frame,
                    Some(_) => {}
                    None => panic!("closed without a word"),
                }
            };
            assert!(answer.kind != HEADERS || answer.payload.starts_with(STATUS_431), "{answer:?}");
        }
    }
    watch.ends("field lists of 17 KiB and 1.6 MiB (HPACK), HTTP/2, 40", "431", 100).await;
}

#[tokio::test]
async fn streams_have_a_bound() {
    let target = Target::start(&[]).await;
    let watch = Watch::begin(&target);
    let mut client = Http2::begin(target.attacker().await, &[]).await;
    let open =
        (0..1_000_u32).flat_map(|n| frame(HEADERS, END_HEADERS, 2 * n + 1, &request("POST", "/api/v1/chat")));
    client.send(&open.collect::<Vec<_>>()).await;
    let (mut refused, mut end) = (0, None);
    while refused < 200 && end.is_none() {
        match client.next().await {
            Some(frame) if frame.kind == RST_STREAM => refused += 1,
            Some(frame) if frame.kind == GOAWAY => end = Some(frame),
            Some(_) => {}
            None => break,
        }
    }
    assert!(refused > 100 || end.is_some(), "{refused} refused");
    let server = if end.is_some() { "refused beyond 128, then GOAWAY" } else { "refused beyond 128" };
    watch.ends("1,000 requests at once on one HTTP/2 connection", server, 100).await;
}
