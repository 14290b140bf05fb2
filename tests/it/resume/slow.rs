//! A reader that takes nothing: cut off, without the turn ever noticing.

use std::time::Duration;

use polylogue::telemetry::metrics::StreamEnd;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use super::{ask, data, id};
use crate::support::{TestApp, eventually, says, span};

/// Well above what the whole turn takes, so that a turn which waits for its reader is seen to.
const PATIENCE_MS: u64 = 4000;

/// A reader with next to no room for what comes, and that takes nothing of it for now.
async fn reader_without_room(app: &TestApp, turn: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(app.app.listen()).await.unwrap();
    let request = format!("GET /api/v1/turns/{turn}/events HTTP/1.1\r\nhost: test\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Takes what had been sent before the cut; the events that came whole.
async fn what_came(mut stream: TcpStream) -> Vec<Value> {
    let mut bytes = Vec::new();
    // However it ends: what came before counts.
    let _ = timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await.expect("never cut off");
    let text = String::from_utf8_lossy(&bytes);
    let whole = text.split("\n\n").filter_map(|block| block.split_once("data: "));
    // A chunk's length may stand between lines of a frame, but never inside the data of a whole one.
    whole.filter_map(|(_, data)| serde_json::from_str(data.lines().next()?).ok()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_takes_nothing_is_cut_off_and_resumes_while_the_turn_runs_on() {
    let app = TestApp::with(|config| {
        config.server.slow_reader_timeout = span(PATIENCE_MS);
        config.turns.max_bytes.0 = 64 * 1024 * 1024;
    })
    .await;
    // Three times 2.5 MB, as deltas and as whole texts: more than the kernel takes for a reader, and some.
    let personas = ["guide", "skeptic", "historian"];
    let word = "word ".repeat(1000);
    app.model.rules(personas.map(|persona| says(persona, vec![word.clone(); 500]).pausing_after(1)));
    let turn = app.start_turn(ask(&personas)).await;
    let slow = reader_without_room(&app, &turn).await;
    let sse = &app.app.services().metrics.sse;
    eventually("the slow reader follows", async || sse.open.get(&()) == 1).await;

    let began = Instant::now();
    app.model.go_on();
    let turns = &app.app.services().metrics.turns;
    eventually("the turn has ended", async || turns.in_flight.get(&()) == 0).await;
    let took = began.elapsed();
    let whole = data(app.resume(&turn, "0-0").await.rest().await);

    assert!(took < Duration::from_millis(PATIENCE_MS), "the turn waited for its reader: {took:?}");
    assert_eq!(whole.last().unwrap()["type"], "turn.completed");
    eventually("the slow one is cut off", async || sse.closed.get(&(StreamEnd::SlowReader,)) == 1).await;
    assert_eq!(sse.closed.get(&(StreamEnd::ClientGone,)), 0);

    let seen = what_came(slow).await;
    assert!(!seen.is_empty() && seen.len() < whole.len(), "{}", seen.len());
    assert_eq!(seen, whole[..seen.len()]);
    let rest = data(app.resume(&turn, id(seen.last().unwrap())).await.rest().await);
    assert_eq!(rest, whole[seen.len()..]);
}
