//! The way to Redis: standalone, behind Sentinel, or a Cluster.
//!
//! Adapters hand in a [`Call`]; whether it can be made now (the breaker), on which connection, for how long, and what a
//! refusal means is decided here. Nobody waits for Redis longer than `redis.timeout` per attempt, and nobody who may not
//! wait at all has to: writes are tried again by whoever keeps what is to be written.

mod call;
mod clock;
mod error;
mod health;
mod keys;
mod link;
mod pool;
mod target;

use std::sync::Arc;
use std::time::Duration;

pub use ::redis::{FromRedisValue, Value};
pub use call::{Call, Script};
pub use clock::Clock;
pub use error::{RedisError, WrongRedis};
pub use health::{Health, Resync};
pub use keys::Keys;
use pool::Pool;
use serde_json::json;
use target::Target;
use tokio::time::{Instant, timeout};
use tracing::info_span;

use crate::config::{self, RedisMode};
use crate::resilience::{Breaker, Permit, RetryPolicy, Snapshot};
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::{Feature, Label as _, Metrics, RedisOperation, RedisOutcome};
use crate::telemetry::traces;

/// What the breaker is called in metrics.
const BREAKER: &str = "redis";

/// Signs of life in a row that close the breaker early.
const SIGNS: u32 = 2;

/// Redis, however many machines that is. Clones are the same.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    mode: RedisMode,
    pool: Pool,
    breaker: Breaker,
    failures: u32,
    retry: RetryPolicy,
    timeout: Duration,
    slow: Duration,
    keys: Keys,
    clock: Clock,
    health: Health,
    metrics: Arc<Metrics>,
}

impl Redis {
    /// Begins to connect, and never waits for it: a start without Redis is a start in degraded mode. `None` if there is no
    /// Redis; fails only for what no waiting mends: settings that are wrong, files that cannot be read.
    pub fn new(
        settings: &config::Redis,
        features: &[Feature],
        metrics: &Arc<Metrics>,
        shutdown: &Shutdown,
    ) -> Result<Option<Self>, WrongRedis> {
        let Some(place) = settings.place().map_err(WrongRedis::Settings)? else { return Ok(None) };
        let mode = place.mode;
        let target = Target::new(place, settings)?;
        let health = Health::new(features, Arc::clone(metrics));
        let shared = Shared {
            mode,
            pool: Pool::start(target, settings, &health, metrics, shutdown),
            breaker: Breaker::new(BREAKER, settings.breaker, Arc::clone(metrics)),
            failures: settings.breaker.failures.get(),
            retry: RetryPolicy::new(settings.retry),
            timeout: *settings.timeout,
            slow: *settings.slow_command,
            keys: Keys::new(&settings.key_prefix),
            clock: Clock::default(),
            health,
            metrics: Arc::clone(metrics),
        };
        Ok(Some(Self { shared: Arc::new(shared) }))
    }

    /// The names of everything.
    pub fn keys(&self) -> &Keys {
        &self.shared.keys
    }

    /// The time as Redis has it.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// What works in a smaller way, and when data may be missing.
    pub fn health(&self) -> &Health {
        &self.shared.health
    }

    /// Whether calls are let through at this moment.
    pub fn is_open_for_calls(&self) -> bool {
        self.shared.breaker.wait().is_none()
    }

    /// Makes the call once. When the connection broke under it, it is sent once more on a fresh one: whoever makes a call
    /// that must not be carried out twice says so by [`Call::once`].
    pub async fn run<T: FromRedisValue>(&self, call: &Call) -> Result<T, RedisError> {
        let permit = self.shared.breaker.admit().map_err(RedisError::Open)?;
        let result = self.shared.attempt(call).await;
        self.shared.settle(permit, &result);
        result
    }

    /// Makes a call that changes nothing, and tries again as `redis.retry` says when Redis is at fault.
    pub async fn read<T: FromRedisValue>(&self, call: &Call) -> Result<T, RedisError> {
        let mut attempt = 1;
        loop {
            let error = match self.run(call).await {
                Err(error) if error.is_fault() => error,
                result => return result,
            };
            match self.shared.retry.wait(attempt, None, Duration::MAX, rand::random()) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error),
            }
            attempt += 1;
        }
    }

    /// A sign of life: it is tried also while the breaker is open, and two that succeed in a row close it. As many that fail
    /// as faults open the breaker open it whatever else succeeds: a sign is a write, and a Redis that is full, or not the
    /// primary any more, still answers reads.
    pub async fn knock<T: FromRedisValue>(&self, call: &Call) -> Result<T, RedisError> {
        let shared = &self.shared;
        let result = match shared.breaker.admit() {
            Ok(permit) => {
                let result = shared.attempt(call).await;
                shared.settle(permit, &result);
                result
            }
            Err(_) => shared.attempt(call).await,
        };
        let in_a_row = shared.health.knocked(result.is_ok());
        match &result {
            Ok(_) if in_a_row >= SIGNS => shared.breaker.close_early(),
            Err(error) if error.is_fault() => shared.is_silent(in_a_row),
            Ok(_) | Err(_) => {}
        }
        shared.look_at_breaker();
        result
    }

    /// The breaker at this moment, for `/status`.
    pub fn breaker(&self) -> Snapshot {
        self.shared.breaker.snapshot()
    }

    /// How Redis stands, for `/status`.
    pub fn status(&self) -> serde_json::Value {
        let (up, of) = self.shared.pool.census();
        json!({
            "mode": match self.shared.mode {
                RedisMode::Standalone => "standalone",
                RedisMode::Sentinel => "sentinel",
                RedisMode::Cluster => "cluster",
            },
            "up": self.shared.metrics.redis.up.get(&()) == 1,
            "connections": {"up": up, "of": of},
            "warnings": self.shared.health.warnings(),
        })
    }
}

/// A command that took long is a span of its trace, if it belongs to one; with which keys and values is not said.
fn note_slow(operation: RedisOperation, outcome: RedisOutcome, took: Duration) {
    if traces::current().is_none() {
        return;
    }
    let error = (outcome != RedisOutcome::Ok).then(|| outcome.as_label());
    info_span!(
        "redis_command",
        otel.name = %format_args!("redis {}", operation.as_label()),
        otel.kind = "client",
        otel.took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        db.system.name = "redis",
        db.operation.name = operation.as_label(),
        error.type = error,
    );
}

impl Shared {
    async fn attempt<T: FromRedisValue>(&self, call: &Call) -> Result<T, RedisError> {
        let began = Instant::now();
        let answer = timeout(self.timeout, self.pool.send(call)).await;
        let answer = answer.unwrap_or(Err(RedisError::Slow(self.timeout)));
        let result = answer.and_then(|value| T::from_redis_value(value).map_err(RedisError::unreadable));
        let outcome = match &result {
            Ok(_) => RedisOutcome::Ok,
            Err(RedisError::Slow(_)) => RedisOutcome::Slow,
            Err(_) => RedisOutcome::Failed,
        };
        let took = began.elapsed();
        self.metrics.redis.commands.observe(&(call.operation(), outcome), took);
        if took >= self.slow {
            note_slow(call.operation(), outcome, took);
        }
        if outcome == RedisOutcome::Slow {
            self.pool.suspect();
        }
        result
    }

    fn settle<T>(&self, permit: Permit, result: &Result<T, RedisError>) {
        match result {
            Ok(_) => permit.success(),
            Err(error) if error.is_fault() => permit.failure(),
            Err(_) => permit.ignored(),
        }
        self.metrics.redis.up.set(&(), i64::from(!result.as_ref().is_err_and(RedisError::is_fault)));
        self.look_at_breaker();
    }

    fn is_silent(&self, signs: u32) {
        self.metrics.redis.up.set(&(), 0);
        if signs >= self.failures {
            self.breaker.open_early();
        }
    }

    fn look_at_breaker(&self) {
        self.health.closed(!self.breaker.is_tripped());
    }
}
