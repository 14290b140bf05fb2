//! Places for sockets over several replicas, through crashes and without Redis.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use polylogue::limits::{Admission, Leases as _, RedisLeases};
use polylogue::redis::Call;
use polylogue::telemetry::metrics::{LeaseKind, RedisOperation};
use polylogue::words::{ClientAddress, ConnectionId, Principal, new_ulid};

use crate::contract::redis::{Connected, connect_patiently};
use crate::support::eventually;
use crate::support::redis::{Mode, Proxy, RedisServer};

const MOST: usize = 5;
/// Long enough that nothing runs out by itself while a test runs.
const LONG: Duration = Duration::from_secs(60);

const IN: Admission = Admission::Granted { replaced: None };

/// One replica's places.
struct Replica {
    connected: Connected,
    leases: RedisLeases,
    ttl: Duration,
}

fn replica(url: &str, ttl: Duration) -> Replica {
    let connected = connect_patiently(url, "places");
    let leases = connected.leases();
    Replica { connected, leases, ttl }
}

impl Replica {
    async fn admit(&self, holder: ConnectionId) -> Admission {
        self.leases.admit(&ada(), holder, MOST, self.ttl, false).await
    }

    /// Lets so many in.
    async fn takes(&self, count: usize) -> Vec<ConnectionId> {
        let holders: Vec<_> = (0..count).map(|_| socket()).collect();
        for holder in &holders {
            assert_eq!(self.admit(*holder).await, IN);
        }
        holders
    }

    async fn is_full(&self) -> bool {
        matches!(self.admit(socket()).await, Admission::Full { .. })
    }

    async fn renew(&self, holders: &[ConnectionId]) -> Vec<ConnectionId> {
        let holders: Vec<_> = holders.iter().map(|holder| (ada(), *holder)).collect();
        self.leases.renew(&holders, self.ttl).await
    }

    async fn held(&self) -> usize {
        self.leases.held(&ada()).await
    }
}

fn caller(address: &str) -> Principal {
    Principal::Address(ClientAddress::from(address.parse::<IpAddr>().unwrap()))
}

fn ada() -> Principal {
    caller("192.0.2.1")
}

/// Each is made later than the one before.
fn socket() -> ConnectionId {
    static MADE: AtomicU64 = AtomicU64::new(1_795_460_442_000);
    ConnectionId(new_ulid(MADE.fetch_add(1, Ordering::Relaxed)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_six_sockets_over_three_replicas_five_open() {
    let redis = RedisServer::start().await;
    let replicas: Vec<_> = (0..3).map(|_| replica(&redis.url(), LONG)).collect();
    let coming = (0..6).map(|n| replicas[n % 3].admit(socket()));
    let admitted = futures_util::future::join_all(coming).await;
    assert_eq!(admitted.iter().filter(|admission| **admission == IN).count(), MOST);
    assert_eq!(replicas[0].held().await, MOST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lost_a_place_to_another_replica_is_told_at_the_next_renewal() {
    let redis = RedisServer::start().await;
    let (a, b) = (replica(&redis.url(), LONG), replica(&redis.url(), LONG));
    let (on_a, on_b) = (a.takes(2).await, b.takes(3).await);
    let newest = socket();
    let admission = b.leases.admit(&ada(), newest, MOST, LONG, true).await;
    assert_eq!(admission, Admission::Granted { replaced: Some(on_a[0]) });

    assert_eq!(b.renew(&[&on_b[..], &[newest]].concat()).await, []);
    assert_eq!(a.renew(&on_a).await, [on_a[0]]);
    a.leases.release(&ada(), on_a[0]).await;
    assert_eq!((a.held().await, b.is_full().await), (MOST, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_died_leaves_its_places_when_their_time_runs_out() {
    let redis = RedisServer::start().await;
    let ttl = Duration::from_millis(400);
    let (dead, living) = (replica(&redis.url(), ttl), replica(&redis.url(), LONG));
    dead.takes(3).await;
    living.takes(2).await;
    drop(dead);

    eventually("their time has run out", async || living.held().await == 2).await;
    assert_eq!(living.admit(socket()).await, IN);
    assert_eq!(living.connected.metrics.leases.expired.get(&(LeaseKind::Socket,)), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keys_of_a_fleet_that_died_go_with_its_places() {
    let redis = RedisServer::start().await;
    let dead = replica(&redis.url(), Duration::from_millis(50));
    dead.takes(MOST).await;
    dead.leases.admit(&ada(), socket(), MOST, dead.ttl, true).await;
    assert_eq!(redis.keys("*").await.len(), 2);
    for key in redis.keys("*").await {
        let left: u64 = redis.command(&["PTTL", &key]).await.parse().unwrap();
        assert!((1..=5_050).contains(&left), "{left} ms");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_lost_everything_has_it_again_after_one_renewal() {
    let redis = RedisServer::start().await;
    let (a, b) = (replica(&redis.url(), LONG), replica(&redis.url(), LONG));
    let (on_a, on_b) = (a.takes(2).await, b.takes(3).await);

    redis.restart_empty().await;
    eventually("both are renewed", async || {
        assert_eq!((a.renew(&on_a).await, b.renew(&on_b).await), (vec![], vec![]));
        redis.keys("*").await.len() == 1 && a.held().await == MOST
    })
    .await;
    assert!(a.is_full().await && b.is_full().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_each_replica_counts_by_itself_and_throws_nobody_out() {
    let redis = RedisServer::start().await;
    let (a, b) = (replica(&redis.url(), LONG), replica(&redis.url(), LONG));
    let (mut on_a, mut on_b) = (a.takes(3).await, b.takes(2).await);

    redis.kill_9();
    on_a.extend(a.takes(2).await);
    on_b.extend(b.takes(3).await);
    assert!(a.is_full().await && b.is_full().await);
    assert_eq!((a.renew(&on_a).await, b.renew(&on_b).await), (vec![], vec![]));
    a.leases.release(&ada(), on_a.pop().unwrap()).await;
    on_a.extend(a.takes(1).await);

    redis.restart().await;
    for replica in [&a, &b] {
        let redis = &replica.connected.redis;
        let sign = Call::command(RedisOperation::Beat, "EXISTS", "anything");
        eventually("redis is back", async || {
            redis.knock::<u64>(&sign).await.is_ok() && redis.is_open_for_calls()
        })
        .await;
    }
    assert_eq!((a.renew(&on_a).await, b.renew(&on_b).await), (vec![], vec![]));
    assert_eq!(a.held().await, 2 * MOST);
    for holder in &on_a {
        assert!(b.is_full().await);
        a.leases.release(&ada(), *holder).await;
    }
    assert_eq!(b.held().await, MOST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admission_whose_answer_was_lost_takes_one_place() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::to(&redis.address()).await;
    let replica = replica(&redis.url_by(&proxy.address()), LONG);
    replica.takes(1).await;
    let holder = socket();
    proxy.set(Mode::CutAnswerTo { part: holder.to_string() });
    assert_eq!(replica.admit(holder).await, IN);
    assert_eq!(proxy.mode(), Mode::Pass, "it was cut");
    assert_eq!(replica.held().await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_are_renewed_many_at_a_time() {
    let redis = RedisServer::start().await;
    let replica = replica(&redis.url(), LONG);
    let holders: Vec<_> = (0..=255).map(|n| (caller(&format!("198.51.100.{n}")), socket())).collect();
    replica.leases.renew(&holders, LONG).await;
    let before = redis.calls("evalsha").await;
    assert_eq!(replica.leases.renew(&holders, LONG).await, []);
    assert_eq!(redis.calls("evalsha").await - before, 1);
    assert_eq!(redis.keys("*").await.len(), 256);
}
