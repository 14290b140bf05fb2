//! Many readers of one turn, and what is counted of them.

use futures_util::future::join_all;
use polylogue::telemetry::metrics::StreamEnd;

use super::{Door, Reader, all_speak, ask, data};
use crate::support::{TestApp, eventually, says, span};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_readers_see_the_same_turn() {
    let app = TestApp::start().await;
    let personas = ["guide", "skeptic", "historian"];
    app.model.rules(
        personas.map(|persona| says(persona, (0..40).map(|n| format!("{persona} {n} "))).pausing_after(3)),
    );
    let turn = app.start_turn(ask(&personas)).await;
    let doors = (0..300).map(|n| if n % 10 == 0 { Door::Socket } else { Door::Header });
    all_speak(&app, &turn).await;
    let readers = join_all(doors.map(|door| Reader::open(&app, door, &turn, "0-0"))).await;

    app.model.go_on();
    let all = join_all(readers.into_iter().map(Reader::rest)).await;

    let whole = &all[0];
    assert_eq!(whole.last().unwrap()["type"], "turn.completed");
    assert!(whole.len() > 3 * 40);
    assert!(all.iter().all(|seen| seen == whole));
}

#[tokio::test]
async fn a_silent_stream_gives_signs_of_life_and_then_goes_on() {
    let app = TestApp::with(|config| config.server.sse_keep_alive = span(20)).await;
    app.model.rules([says("guide", ["Well, ", "yes."]).pausing_after(1)]);
    let mut stream = app.stream(ask(&["guide"])).await;
    let mut seen = data(stream.until("reply.delta").await);
    stream.until_comments(5).await;

    app.model.go_on();
    seen.extend(data(stream.rest().await));
    let content = &seen.iter().find(|event| event["type"] == "reply.completed").unwrap()["content"];
    assert_eq!(content, "Well, yes.");
}

#[tokio::test]
async fn streams_are_counted_by_how_they_ended() {
    let app = TestApp::start().await;
    let sse = &app.app.services().metrics.sse;
    let counted = |end: StreamEnd| sse.closed.get(&(end,));
    app.stream(ask(&["guide"])).await.rest().await;
    eventually("one was completed", async || counted(StreamEnd::Completed) == 1).await;

    app.model.rules([says("guide", ["Well, ", "yes."]).pausing_after(1)]);
    let mut stream = app.stream(ask(&["guide"])).await;
    let turn = stream.turn();
    stream.until("reply.delta").await;
    drop(stream);
    eventually("a client left", async || counted(StreamEnd::ClientGone) == 1).await;

    // It left; the turn did not.
    app.model.go_on();
    let rest = data(app.resume(&turn, "1-4").await.rest().await);
    assert_eq!(rest.last().unwrap()["type"], "turn.completed");
    eventually("two were completed", async || counted(StreamEnd::Completed) == 2).await;
    assert_eq!(counted(StreamEnd::SlowReader), 0);
}
