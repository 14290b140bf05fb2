//! Who gets a socket.

use std::sync::Arc;
use std::time::Duration;

use polylogue::config::{Config, WhenFull};
use polylogue::connections::Connections;
use polylogue::shutdown::Shutdown;
use polylogue::telemetry::metrics::{LeaseKind, Metrics, SocketRefusal};
use polylogue::words::Principal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::rig::{Replica, caller, places};

const PATH: &str = "/api/v1/chat/ws";

#[tokio::test(start_paused = true)]
async fn the_sixth_socket_of_a_caller_is_refused_and_has_room_when_another_closes() {
    let replica = Replica::start();
    let mut sockets = Vec::new();
    for _ in 0..5 {
        sockets.push(replica.socket(1).await);
    }

    let refused = replica.try_socket(1).await.err().unwrap();
    assert_eq!(refused.status, 429);
    assert_eq!(refused.headers["Problem-Code"], "connection_limit_exceeded");
    assert_eq!(refused.headers["RateLimit-Policy"], r#""sockets";q=5;qu="concurrent-requests""#);
    assert_eq!(replica.metrics.websocket.rejected.get(&(SocketRefusal::PerClient,)), 1);
    replica.socket(2).await;

    let mut first = sockets.remove(0);
    first.stream.close(None).await.unwrap();
    first.end().await;
    replica.socket(1).await;
}

#[tokio::test(start_paused = true)]
async fn the_newest_socket_can_replace_the_oldest() {
    let replica = Replica::with(|config| config.websocket.when_full = WhenFull::ReplaceOldest);
    let mut sockets = Vec::new();
    for _ in 0..5 {
        sockets.push(replica.socket(1).await);
    }

    let mut newest = replica.socket(1).await;

    assert_eq!(sockets.remove(0).end().await, Some((4502, "replaced".into())));
    assert!(newest.is_alive().await);
    for socket in &mut sockets {
        assert!(socket.is_alive().await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_socket_replaced_from_another_replica_is_closed_at_the_next_renewal() {
    let leases = places();
    let change = |config: &mut Config| {
        config.websocket.max_per_client = 1.try_into().unwrap();
        config.websocket.when_full = WhenFull::ReplaceOldest;
    };
    let (here, there) = (Replica::sharing(leases.clone(), change), Replica::sharing(leases, change));

    let mut older = here.socket(1).await;
    let mut newer = there.socket(1).await;

    assert_eq!(older.end().await, Some((4502, "replaced".into())));
    assert!(newer.is_alive().await);
}

#[tokio::test(start_paused = true)]
async fn a_full_replica_says_that_another_may_have_room() {
    let replica = Replica::with(|config| config.websocket.max_total = 2.try_into().unwrap());
    let _open = (replica.socket(1).await, replica.socket(2).await);

    let refused = replica.try_socket(3).await.err().unwrap();

    assert_eq!(refused.status, 503);
    assert_eq!(refused.headers["Problem-Code"], "overloaded");
    assert_eq!((replica.connections.census().total, replica.connections.census().principals), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_crash_frees_its_places_after_forty_seconds_and_life_keeps_them() {
    let leases = places();
    let one = |config: &mut Config| config.websocket.max_per_client = 1.try_into().unwrap();
    let living = Replica::sharing(leases.clone(), one);
    let crashed = Connections::new(
        &{
            let mut config = Config::default();
            one(&mut config);
            config
        },
        leases,
        Arc::new(Metrics::new()),
        Shutdown::new(),
    );
    // A killed process neither renews nor releases.
    let place = crashed.admit(&Principal::Address(caller(1).into())).await;
    std::mem::forget(place.ok().unwrap());
    let mut kept = living.socket(2).await;

    kept.stay(39).await;
    assert_eq!(living.try_socket(1).await.err().unwrap().status, 429);
    kept.stay(2).await;
    living.socket(1).await;

    assert_eq!(living.try_socket(2).await.err().unwrap().status, 429);
    assert!(kept.is_alive().await);
}

#[tokio::test(start_paused = true)]
async fn a_ticket_holds_a_place_for_one_socket_and_for_half_a_minute() {
    let replica = Replica::with(|config| config.websocket.max_per_client = 1.try_into().unwrap());
    let (status, body) = replica.ticket(1).await;
    assert_eq!(status, 201);
    let target = format!("{PATH}?ticket={}", body["ticket"].as_str().unwrap());
    assert_eq!(replica.ticket(1).await.0, 429);
    assert_eq!(replica.metrics.leases.held.get(&(LeaseKind::Ticket,)), 1);
    assert_eq!(replica.metrics.leases.held.get(&(LeaseKind::Socket,)), 0);

    let mut socket = replica.open(caller(1), &target, None).await.unwrap();
    socket.stay(60).await;
    assert!(socket.is_alive().await);
    assert_eq!(replica.open(caller(1), &target, None).await.err().unwrap().status, 400);
    drop(socket);

    let (_, unused) = replica.ticket(2).await;
    tokio::time::sleep(Duration::from_secs(31)).await;
    let target = format!("{PATH}?ticket={}", unused["ticket"].as_str().unwrap());
    assert_eq!(replica.open(caller(2), &target, None).await.err().unwrap().status, 400);
    replica.socket(2).await;
}

#[tokio::test(start_paused = true)]
async fn our_subprotocol_is_chosen_if_offered_and_assumed_if_nothing_is() {
    let replica = Replica::start();
    let offering = |protocols| replica.open(caller(1), PATH, protocols);

    assert_eq!(offering(Some("polylogue.v1")).await.unwrap().protocol.as_deref(), Some("polylogue.v1"));
    let among_others = offering(Some("polylogue.v9, polylogue.v1")).await.unwrap();
    assert_eq!(among_others.protocol.as_deref(), Some("polylogue.v1"));
    assert_eq!(offering(None).await.unwrap().protocol, None);

    let refused = offering(Some("graphql-ws, polylogue.v2")).await.err().unwrap();
    assert_eq!(refused.status, 400);
    assert_eq!(refused.headers["Problem-Code"], "unsupported_subprotocol");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_no_upgrade_is_told_what_to_do() {
    let replica = Replica::start();
    let mut connection = replica.connect(caller(1));
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: polylogue\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();

    let mut response = String::new();
    connection.read_to_string(&mut response).await.unwrap();

    let response = response.to_lowercase();
    assert!(response.starts_with("http/1.1 426"), "{response}");
    assert!(response.contains("\r\nsec-websocket-version: 13\r\n"), "{response}");
    assert!(response.contains("problem-code: upgrade_required"), "{response}");
    assert_eq!(replica.metrics.websocket.rejected.get(&(SocketRefusal::NotAnUpgrade,)), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_before_the_upgrade_is_done_keeps_no_place() {
    let replica = Replica::with(|config| config.websocket.max_per_client = 1.try_into().unwrap());
    for _ in 0..3 {
        let mut connection = replica.connect(caller(1));
        let request = format!(
            "GET {PATH} HTTP/1.1\r\nHost: polylogue\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        connection.write_all(request.as_bytes()).await.unwrap();
        drop(connection);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(replica.connections.census().total, 0);
    replica.socket(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_place_whose_owner_gives_no_sign_of_life_is_given_back() {
    let replica = Replica::with(|config| config.websocket.max_per_client = 1.try_into().unwrap());
    let place = replica.connections.admit(&Principal::Address(caller(1).into())).await;
    // A bug: it is neither opened nor dropped, and the manager renews it.
    std::mem::forget(place.ok().unwrap());

    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(replica.try_socket(1).await.err().unwrap().status, 429);
    tokio::time::sleep(Duration::from_secs(121)).await;

    replica.socket(1).await;
    assert_eq!(replica.metrics.leases.expired.get(&(LeaseKind::Socket,)), 1);
}
