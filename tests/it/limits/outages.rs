//! Limits while Redis cannot be asked, or is too slow to be worth it.

use std::sync::Arc;
use std::time::Duration;

use polylogue::config::Strategy;
use polylogue::fleet::{Presence as _, RedisPresence};
use polylogue::limits::{Limiter as _, Policy, RedisLimiter, Verdict};
use polylogue::telemetry::metrics::{Backend, BreakerCall, BreakerState, Feature};
use polylogue::words::ReplicaId;
use tokio::time::Instant;

use super::{ask, check, policy};
use crate::contract::redis::{Connected, connect_patiently};
use crate::support::eventually;
use crate::support::redis::{Mode, Proxy, RedisServer};

const REPLICAS: usize = 3;
/// Longer than usual, so that a busy machine is not taken for a slow Redis.
const CEILING: Duration = Duration::from_millis(300);

/// One of three replicas, and a policy of 30 requests an hour.
struct Stage {
    connected: Connected,
    limiter: RedisLimiter,
    policy: Arc<Policy>,
}

impl Stage {
    /// Waits until Redis is reached.
    async fn on(url: &str) -> Self {
        let connected = connect_patiently(url, "limits");
        let limiter = connected.limiter(CEILING, REPLICAS);
        let stage =
            Self { connected, limiter, policy: policy(30, Duration::from_secs(3600), Strategy::FixedWindow) };
        eventually("redis decides", async || stage.look().await.backend == Backend::Redis).await;
        stage
    }

    async fn ask(&self) -> Verdict {
        ask(&self.limiter, "ada", &self.policy).await
    }

    async fn look(&self) -> Verdict {
        self.limiter.look(&check("ada", &self.policy)).await
    }

    /// How many of 40 requests pass without Redis.
    async fn passes_without_redis(&self) -> usize {
        let mut passed = 0;
        for _ in 0..40 {
            let verdict = self.ask().await;
            assert_eq!(verdict.backend, Backend::Fallback);
            assert_eq!(verdict.standings[0].policy.quota, 10, "its share");
            passed += usize::from(verdict.is_allowed());
        }
        assert!(self.connected.redis.health().degraded().contains(&Feature::Limits));
        passed
    }

    /// Waits until Redis decides again and nobody says that it does not; what is left then.
    async fn left_after_return(&self) -> u32 {
        eventually("redis decides again", async || self.look().await.backend == Backend::Redis).await;
        let left = self.look().await.standings[0].remaining;
        eventually("all is well again", async || {
            self.look().await;
            !self.connected.redis.health().degraded().contains(&Feature::Limits)
        })
        .await;
        left
    }

    fn calls(&self, breaker: &str, outcome: BreakerCall) -> u64 {
        self.connected.metrics.breakers.calls.get(&(breaker.into(), outcome))
    }

    fn is_open(&self, breaker: &str) -> bool {
        self.connected.metrics.breakers.state.get(&(breaker.into(), BreakerState::Open)) == 1
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_stands_still_costs_the_ceiling_a_few_times_and_each_replica_its_share() {
    let redis = RedisServer::start().await;
    let stage = Stage::on(&redis.url()).await;
    for _ in 0..5 {
        stage.ask().await;
    }

    redis.pause();
    let paused = Instant::now();
    assert_eq!(stage.passes_without_redis().await, 10);
    // Three in a row, and one probe a second afterwards; the others did not wait.
    let probes = paused.elapsed().as_secs();
    assert!((3..=3 + probes).contains(&stage.calls("redis_limits", BreakerCall::Failure)));
    assert!(stage.calls("redis_limits", BreakerCall::Rejected) >= 37 - probes);
    assert!(!stage.is_open("redis"), "the ceiling is no fault of redis");

    redis.go_on();
    let left = stage.left_after_return().await;
    // What was on its way to Redis is counted there when it goes on.
    let late = u32::try_from(stage.calls("redis_limits", BreakerCall::Failure)).unwrap();
    assert!((25 - late..=25).contains(&left), "{left} left, {late} came late");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_beyond_the_ceiling_is_left_alone_and_asked_again_when_it_is_quick() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::to(&redis.address()).await;
    let stage = Stage::on(&redis.url_by(&proxy.address())).await;
    stage.ask().await;

    proxy.set(Mode::Delay { by: CEILING, jitter: Duration::ZERO });
    assert_eq!(stage.passes_without_redis().await, 10);
    assert!(stage.is_open("redis_limits") && !stage.is_open("redis"));
    let asked = proxy.commands("EVALSHA");

    proxy.set(Mode::Pass);
    let left = stage.left_after_return().await;
    assert!(left <= 29, "what redis had counted counts again");
    assert!(proxy.commands("EVALSHA") > asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_died_is_done_without_until_it_is_back() {
    let redis = RedisServer::builder().durable().start().await;
    let stage = Stage::on(&redis.url()).await;
    for _ in 0..5 {
        stage.ask().await;
    }

    redis.kill_9();
    assert_eq!(stage.passes_without_redis().await, 10);
    assert!(stage.is_open("redis"));

    redis.restart().await;
    let me = RedisPresence::new(stage.connected.redis.clone(), ReplicaId::random(), Duration::from_secs(10));
    eventually("signs of life close the circuit", async || {
        me.beat().await.is_ok() && stage.connected.redis.is_open_for_calls()
    })
    .await;
    assert_eq!(stage.left_after_return().await, 25, "redis' counters as they stand");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_redis_cannot_read_costs_nobody_else_anything() {
    let redis = RedisServer::start().await;
    let stage = Stage::on(&redis.url()).await;
    let key = stage.connected.redis.keys().limit(&stage.policy.name, "ada");
    redis.command(&["LPUSH", &key, "not a counter"]).await;

    let verdict = stage.ask().await;
    assert_eq!((verdict.backend, verdict.is_allowed()), (Backend::Fallback, true));
    assert_eq!(ask(&stage.limiter, "bob", &stage.policy).await.backend, Backend::Redis);

    redis.command(&["SET", &key, "nonsense"]).await;
    let verdict = stage.ask().await;
    assert_eq!((verdict.backend, verdict.standings[0].remaining), (Backend::Redis, 29), "a fresh start");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subject_leaves_nothing_behind_in_redis() {
    let redis = RedisServer::start().await;
    let stage = Stage::on(&redis.url()).await;
    for strategy in [Strategy::FixedWindow, Strategy::Gcra] {
        let policy = policy(3, Duration::from_millis(300), strategy);
        assert!(ask(&stage.limiter, "ada", &policy).await.is_allowed());
    }
    eventually("keys go with their windows", async || redis.keys("*").await.is_empty()).await;
}
