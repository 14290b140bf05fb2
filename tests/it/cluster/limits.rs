//! What is limited is limited over all replicas together.

use futures_util::future::join_all;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Service;
use crate::support::replicas::Replica;
use crate::support::{Socket, eventually};

/// Replicas that wait for Redis: a decision that takes a busy machine too long is made by each for itself.
async fn start(settings: &[&str]) -> Service {
    Service::start(&[&["redis.timeout=5s", "redis.limit_timeout=5s"], settings].concat()).await
}

#[tokio::test]
async fn of_a_hundred_and_one_requests_to_three_replicas_exactly_a_hundred_pass() {
    let service = start(&["limits.policies.default.quota=100"]).await;
    let requests = (0..101).map(|number| service.replicas[number % 3].client.get("/api/v1/personas"));
    let answers = join_all(requests).await;
    let with = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((with(200), with(429)), (100, 1));
    for replica in service.replicas.iter() {
        assert_eq!(replica.client.get("/api/v1/personas").await.code(), "rate_limited");
    }
}

/// Sockets that are read and answer pings until they are dropped.
#[derive(Default)]
struct Sockets(JoinSet<()>);

impl Sockets {
    /// Whether there was a place.
    async fn open(&mut self, replica: &Replica) -> bool {
        let Ok(mut socket) = Socket::try_open(&replica.address()).await else { return false };
        self.0.spawn(async move { while socket.next().await.is_ok() {} });
        true
    }
}

#[tokio::test]
async fn of_six_sockets_to_three_replicas_exactly_five_open() {
    let service = start(&["websocket.max_per_client=5"]).await;
    let mut sockets = Sockets::default();
    for number in 0..5 {
        assert!(sockets.open(&service.replicas[number % 3]).await, "socket {number}");
    }
    for replica in service.replicas.iter() {
        let refused = replica.client.post("/api/v1/chat/ws/tickets", Value::Null).await;
        assert_eq!((refused.status, refused.code()), (429, "connection_limit_exceeded"), "{refused:?}");
        assert!(!sockets.open(replica).await);
    }
    sockets.0.abort_all();
    eventually("a place is free", async || sockets.open(&service.replicas[1]).await).await;
}

#[tokio::test]
async fn the_places_of_a_killed_replica_are_free_again_in_time() {
    let settings = [
        "websocket.max_per_client=5",
        "websocket.heartbeat_interval=3s",
        "websocket.heartbeat_timeout=2s",
        "websocket.cleanup_interval=1s",
    ];
    let service = start(&settings).await;
    let mut sockets = Sockets::default();
    for number in 0..5 {
        assert!(sockets.open(&service.replicas[number % 3]).await, "socket {number}");
    }

    service.replicas[0].kill_9();
    let killed = Instant::now();
    assert!(!sockets.open(&service.replicas[1]).await, "not before their time");
    let returns = async || sockets.open(&service.replicas[1]).await;
    eventually("a place is free within 5 s, and what a busy machine takes", returns).await;
    eprintln!("MEASURED the place of a killed replica was free after {:?}", killed.elapsed());
    let second = async || sockets.open(&service.replicas[2]).await;
    eventually("the second of its two is free", second).await;
    assert!(!sockets.open(&service.replicas[2]).await, "and no more");
}
