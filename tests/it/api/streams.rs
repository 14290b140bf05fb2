//! Server-sent events, over a source that says what the test wants.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use poem::IntoResponse as _;
use polylogue::chat::ChatError;
use polylogue::config::Config;
use polylogue::http::sse::{EventStream, Source, Surroundings};
use polylogue::shutdown::Shutdown;
use polylogue::telemetry::metrics::{Metrics, StreamEnd};
use polylogue::words::{Event, EventBody, EventId, RequestId, TurnId};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

const TURN: &str = "01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2";

/// Says what it is given; ends when its giver does.
struct Script(mpsc::Receiver<Result<Arc<Event>, ChatError>>);

impl Source for Script {
    fn turn(&self) -> TurnId {
        TURN.parse().unwrap()
    }

    async fn next(&mut self) -> Result<Option<Arc<Event>>, ChatError> {
        self.0.recv().await.transpose()
    }
}

struct Stage {
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    turn: mpsc::Sender<Result<Arc<Event>, ChatError>>,
    response: poem::Response,
}

fn stage() -> Stage {
    let (metrics, shutdown) = (Arc::new(Metrics::new()), Shutdown::new());
    let (turn, script) = mpsc::channel(64);
    let around = Surroundings::new(&Config::default(), metrics.clone(), shutdown.clone());
    let response = EventStream::open(Script(script), RequestId::random(), around).into_response();
    Stage { metrics, shutdown, turn, response }
}

fn event(seq: u64, body: EventBody) -> Result<Arc<Event>, ChatError> {
    Ok(Arc::new(Event::new(EventId { epoch: 1, seq }, TURN.parse().unwrap(), body)))
}

fn delta(seq: u64, text: &str) -> Result<Arc<Event>, ChatError> {
    event(seq, EventBody::ReplyDelta { persona: "historian".parse().unwrap(), text: text.into() })
}

fn completed(seq: u64) -> Result<Arc<Event>, ChatError> {
    event(seq, EventBody::TurnCompleted { usage: None })
}

async fn frames(response: poem::Response) -> Vec<std::io::Result<String>> {
    let body = response.into_body().into_bytes_stream();
    body.map(|frame| frame.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())).collect().await
}

/// Waits, on the test's clock, until the stream is counted as ended for this reason.
async fn ended(metrics: &Metrics, reason: StreamEnd) {
    for _ in 0..600 {
        if metrics.sse.closed.get(&(reason,)) == 1 {
            assert_eq!(metrics.sse.open.get(&()), 0);
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("the stream did not end as {reason:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_reads_as_in_the_contract() {
    let Stage { metrics, turn, response, .. } = stage();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-store, no-transform");
    assert_eq!(response.headers()["x-accel-buffering"], "no");

    let first = delta(5, "one\r\ntwo");
    let data = String::from_utf8(first.as_ref().unwrap().json().to_vec()).unwrap();
    turn.send(first).await.unwrap();
    turn.send(completed(6)).await.unwrap();

    let writes: Vec<String> = frames(response).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(writes.len(), 1, "what is there at once is written at once");
    let frames: Vec<&str> = writes[0].split_inclusive("\n\n").collect();
    assert_eq!(frames[0], "retry: 2000\n: ok\n\n");
    assert_eq!(frames[1], format!("id: 1-5\nevent: reply.delta\ndata: {data}\n\n"));
    assert!(frames[2].starts_with("id: 1-6\nevent: turn.completed\ndata: {\"type\":\"turn.completed\","));
    assert!(frames[2].ends_with("}\n\n"));
    assert_eq!(frames.len(), 3);
    ended(&metrics, StreamEnd::Completed).await;
    assert_eq!(metrics.sse.opened.get(&()), 1);
}

#[tokio::test(start_paused = true)]
async fn a_comment_follows_fifteen_seconds_of_silence_and_events_begin_the_silence_anew() {
    let Stage { turn, response, .. } = stage();
    let began = Instant::now();
    let body = response.into_body().into_bytes_stream();
    let mut arrived = body.map(|frame| (began.elapsed().as_secs(), frame.unwrap()));
    assert_eq!(arrived.next().await.unwrap().0, 0);

    sleep(Duration::from_secs(10)).await;
    turn.send(delta(1, "a")).await.unwrap();
    assert_eq!(arrived.next().await.unwrap().0, 10);
    for second in [25, 40] {
        let (at, frame) = arrived.next().await.unwrap();
        assert_eq!((at, &frame[..]), (second, &b": keep-alive\n\n"[..]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_is_cut_off() {
    let Stage { metrics, turn, response, .. } = stage();
    let began = Instant::now();
    for seq in 1..=60 {
        turn.send(delta(seq, &"a".repeat(1024))).await.unwrap();
    }
    ended(&metrics, StreamEnd::SlowReader).await;
    assert!((10..11).contains(&began.elapsed().as_secs()));
    assert!(turn.is_closed());

    // What is left says that it is not the whole: the connection must not look like one that ended well.
    let last = frames(response).await.pop().unwrap();
    assert!(last.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_is_forgotten_at_once() {
    let Stage { metrics, turn, response, .. } = stage();
    let mut body = response.into_body().into_bytes_stream();
    body.next().await.unwrap().unwrap();
    let left = Instant::now();
    drop(body);
    turn.closed().await;
    assert_eq!(left.elapsed(), Duration::ZERO);
    ended(&metrics, StreamEnd::ClientGone).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_outlives_closing_and_ends_cleanly_at_the_hard_stop() {
    let Stage { metrics, shutdown, turn, response } = stage();
    shutdown.draining().cancel();
    shutdown.closing().cancel();
    turn.send(delta(1, "still here")).await.unwrap();
    let stop = shutdown.hard().clone();
    let reading = frames(response);
    let stopping = async {
        sleep(Duration::from_secs(1)).await;
        stop.cancel();
    };
    let (frames, ()) = tokio::join!(reading, stopping);
    let read: String = frames.into_iter().map(Result::unwrap).collect();
    assert!(read.contains("still here"), "{read}");
    ended(&metrics, StreamEnd::Drain).await;
    shutdown.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_loses_its_turn_ends_and_may_be_resumed() {
    let Stage { metrics, turn, response, .. } = stage();
    turn.send(delta(1, "a")).await.unwrap();
    turn.send(Err(ChatError::StateUnavailable("away".into()))).await.unwrap();
    assert!(frames(response).await.iter().all(Result::is_ok));
    ended(&metrics, StreamEnd::Deadline).await;
}
