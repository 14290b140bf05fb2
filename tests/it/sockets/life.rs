//! How long a socket lives.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use polylogue::connections::Due;
use polylogue::telemetry::metrics::SocketEnd;
use polylogue::words::Principal;
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::rig::{Replica, caller};

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_pinged_and_then_closed() {
    let replica = Replica::start();
    let mut socket = replica.socket(1).await;

    // Below the library, which would answer the ping.
    let mut received = Vec::new();
    socket.stream.get_mut().read_to_end(&mut received).await.unwrap();

    let ping = [0x89, 0];
    let close = [&[0x88, 2 + 17], &4000_u16.to_be_bytes()[..], b"heartbeat_timeout"].concat();
    assert_eq!(received, [&ping[..], &close].concat());
    assert_eq!(replica.metrics.websocket.closed.get(&(SocketEnd::HeartbeatTimeout,)), 1);
    assert_eq!(replica.connections.census().total, 0);
}

#[tokio::test(start_paused = true)]
async fn the_ping_comes_after_the_interval_give_or_take_a_tenth() {
    let replica = Replica::start();
    for nth in 1..=20 {
        let mut socket = replica.socket(nth).await;
        let opened = Instant::now();
        let ping = socket.stream.next().await.unwrap().unwrap();
        let wait = opened.elapsed().as_secs_f64();
        assert!(ping.is_ping());
        assert!((26.9..=33.1).contains(&wait), "{wait}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_close_comes_one_timeout_after_the_ping() {
    let replica = Replica::start();
    let _socket = replica.socket(1).await;
    let opened = Instant::now();

    let closed = || replica.metrics.websocket.closed.get(&(SocketEnd::HeartbeatTimeout,));
    while closed() == 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let lived = opened.elapsed().as_secs_f64();
    assert!((36.9..=43.2).contains(&lived), "{lived}");
}

#[tokio::test(start_paused = true)]
async fn any_frame_that_comes_in_keeps_a_socket_alive() {
    let replica = Replica::start();
    let mut socket = replica.socket(1).await;

    // The client never reads, so it never answers a ping; it only sends an unsolicited pong now and then.
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(9)).await;
        socket.stream.send(Message::Pong(Vec::new().into())).await.unwrap();
    }

    assert!(socket.is_alive().await);
}

#[tokio::test(start_paused = true)]
async fn pings_and_pongs_of_any_kind_do_not_keep_an_idle_socket() {
    let replica = Replica::start();
    let mut socket = replica.socket(1).await;
    let opened = Instant::now();

    let end = loop {
        match timeout(Duration::from_secs(7), socket.stream.next()).await {
            Err(_) => socket.say(r#"{"type":"ping"}"#).await,
            Ok(Some(Ok(Message::Close(frame)))) => break frame.unwrap(),
            Ok(Some(Ok(_))) => {}
            Ok(other) => panic!("{other:?}"),
        }
    };

    assert_eq!((u16::from(end.code), end.reason.as_str()), (4001, "idle"));
    let lived = opened.elapsed().as_secs_f64();
    assert!((3599.0..3601.0).contains(&lived), "{lived}");
}

#[tokio::test(start_paused = true)]
async fn an_application_frame_puts_the_idle_end_off() {
    let replica = Replica::start();
    let mut socket = replica.socket(1).await;

    socket.stay(3000).await;
    socket.ask(r#"{"type":"auth","ref":"a","token":"t"}"#).await;
    socket.stay(3500).await;

    assert!(socket.is_alive().await);
}

#[tokio::test(start_paused = true)]
async fn a_stop_tells_everybody_and_spreads_the_closing() {
    let replica = Replica::start();
    let mut sockets = Vec::new();
    for nth in 1..=50 {
        sockets.push(replica.socket(nth).await);
    }

    let started = Instant::now();
    replica.shutdown.closing().cancel();
    let ends = sockets.iter_mut().map(|socket| async move {
        let frame = socket.frame().await;
        assert_eq!(frame["type"], "draining");
        assert!(frame["reconnect_after_ms"].as_u64().unwrap() <= 5000);
        assert_eq!(socket.end().await, Some((1012, "service_restart".into())));
        started.elapsed().as_secs_f64()
    });
    let ends = futures_util::future::join_all(ends).await;

    let (first, last) = ends.iter().fold((9.0_f64, 0.0_f64), |(a, b), end| (a.min(*end), b.max(*end)));
    assert!(last <= 5.1, "{last}");
    assert!(last - first > 2.5, "spread over {first} to {last}");
    timeout(Duration::from_secs(1), replica.connections.stopped()).await.unwrap();
    timeout(Duration::from_secs(1), replica.shutdown.ended()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stop_closes_a_busy_socket_when_it_is_no_longer_busy() {
    let replica = Replica::start();
    let place = replica.connections.admit(&Principal::Address(caller(1).into())).await;
    let mut connection = place.ok().unwrap().open();

    replica.shutdown.closing().cancel();
    assert!(matches!(connection.due(true).await, Due::Drain { .. }));
    while let Ok(due) = timeout(Duration::from_secs(20), connection.due(true)).await {
        assert_eq!(due, Due::Ping);
        connection.heard();
    }

    assert_eq!(connection.due(false).await, Due::Close(SocketEnd::ServiceRestart));
}

#[tokio::test(start_paused = true)]
async fn a_stop_without_more_time_closes_a_busy_socket_too() {
    let replica = Replica::start();
    let place = replica.connections.admit(&Principal::Address(caller(1).into())).await;
    let mut connection = place.ok().unwrap().open();

    replica.shutdown.closing().cancel();
    assert!(matches!(connection.due(true).await, Due::Drain { .. }));
    replica.shutdown.hard().cancel();

    assert_eq!(connection.due(true).await, Due::Close(SocketEnd::ServiceRestart));
}

#[tokio::test(start_paused = true)]
async fn an_idle_replica_stops_at_once_and_a_stopping_one_takes_nobody() {
    let replica = Replica::start();
    let started = Instant::now();

    replica.shutdown.closing().cancel();
    timeout(Duration::from_secs(1), replica.shutdown.ended()).await.unwrap();

    assert!(started.elapsed() < Duration::from_millis(10));
    let refused = replica.try_socket(1).await.err().unwrap();
    assert_eq!(
        (refused.status.as_u16(), &refused.headers["Problem-Code"]),
        (503, &"draining".parse().unwrap())
    );
}

#[tokio::test(start_paused = true)]
async fn a_hard_stop_waits_for_nobody() {
    let replica = Replica::start();
    let mut socket = replica.socket(1).await;

    replica.shutdown.closing().cancel();
    replica.shutdown.hard().cancel();

    assert_eq!(socket.end().await, Some((1012, "service_restart".into())));
    timeout(Duration::from_secs(1), replica.shutdown.ended()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_is_cut_off() {
    let replica = Replica::start();
    let mut socket = replica.socket(1).await;

    // Each of these is answered with an error; the answers fill the pipe, because nobody reads them.
    for _ in 0..2_000 {
        tokio::time::sleep(Duration::from_millis(25)).await;
        if socket.stream.send(Message::text("[]")).await.is_err() {
            break;
        }
    }

    assert_eq!(replica.metrics.websocket.closed.get(&(SocketEnd::SlowReader,)), 1);
    assert_eq!(replica.connections.census().total, 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_vanishes_gives_its_place_back_at_once() {
    let replica = Replica::start();
    let socket = replica.socket(1).await;
    drop(socket);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(replica.connections.census().total, 0);
    assert_eq!(replica.metrics.websocket.closed.get(&(SocketEnd::ClientGone,)), 1);
}
