//! Limits decided in Redis, for all replicas together.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, timeout};

use super::gcra::period;
use super::local::{LocalLimiter, Reading};
use super::unanswered::Unanswered;
use super::{Check, Limiter, Policy, Standing, Verdict};
use crate::config::{self, Strategy};
use crate::redis::{Call, Redis, Script};
use crate::resilience::Breaker;
use crate::telemetry::metrics::{Backend, Feature, Metrics, RedisOperation};

static DECIDE: Script = Script::new(RedisOperation::Decide, include_str!("decide.lua"));

/// What the breaker of slow decisions is called in metrics.
const BREAKER: &str = "redis_limits";
/// Decisions in a row that hit the ceiling before Redis is left alone for a moment. Otherwise every request would pay
/// for a slow Redis; that moment is short, because only a decision finds out that Redis is quick again.
const SLOW_IN_A_ROW: NonZeroU32 = NonZeroU32::new(3).unwrap();
const LEFT_ALONE: Duration = Duration::from_secs(1);
/// How long no decision may have been missed before limits count as whole again: a Redis that is slow now and then is
/// one degradation, not many.
const CALM: Duration = Duration::from_secs(5);

/// Decides limits by one script on Redis' clock. While Redis cannot answer within the ceiling, this replica allows its
/// share of each quota by itself.
pub struct RedisLimiter {
    redis: Redis,
    ceiling: Duration,
    slow: Breaker,
    fallback: LocalLimiter,
    replicas: Box<dyn Fn() -> usize + Send + Sync>,
    missed: Mutex<Option<Instant>>,
    unanswered: Unanswered,
}

/// Whether a decision counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Count,
    Look,
}

/// What a policy said: how many more, the µs until its quota is whole, and the µs to wait, or less than nothing.
type Said = (u32, u64, i64);

impl RedisLimiter {
    /// Counts in this Redis. `replicas` tells how many share a quota while Redis is away.
    pub fn new(
        redis: Redis,
        settings: &config::Redis,
        replicas: impl Fn() -> usize + Send + Sync + 'static,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let patience = config::Breaker { failures: SLOW_IN_A_ROW, recovery: config::Span(LEFT_ALONE) };
        Self {
            redis,
            ceiling: *settings.limit_timeout,
            slow: Breaker::new(BREAKER, patience, Arc::clone(metrics)),
            fallback: LocalLimiter::new(),
            replicas: Box::new(replicas),
            missed: Mutex::default(),
            unanswered: Unanswered::new(Arc::clone(metrics)),
        }
    }

    async fn ask(&self, checks: &[Check], mode: Mode) -> Verdict {
        match self.ask_redis(checks, mode).await {
            Some(standings) => {
                self.recovered();
                Verdict { standings, backend: Backend::Redis }
            }
            None => {
                self.missed();
                self.ask_fallback(checks, mode).await
            }
        }
    }

    /// `None` if there is no answer within the ceiling, or nobody to ask.
    async fn ask_redis(&self, checks: &[Check], mode: Mode) -> Option<Vec<Standing>> {
        let permit = self.slow.admit().ok()?;
        let call = self.call(checks, mode);
        // Giving up on a call says nothing about Redis, which may have all of `redis.timeout` for it.
        let Ok(answer) = timeout(self.ceiling, self.redis.run::<Vec<Said>>(&call)).await else {
            permit.failure();
            return None;
        };
        match answer {
            Ok(said) => {
                permit.success();
                Some(checks.iter().zip(said).map(|(check, said)| standing(&check.policy, said)).collect())
            }
            Err(error) => {
                permit.ignored();
                self.unanswered.log(&error);
                None
            }
        }
    }

    /// Sent once: a second time it would count twice.
    fn call(&self, checks: &[Check], mode: Mode) -> Call {
        let keys = self.redis.keys();
        let counted = |check: &Check| keys.limit(&check.policy.name, &check.subject);
        let call = DECIDE.on(checks.iter().map(counted)).arg(match mode {
            Mode::Count => "count",
            Mode::Look => "look",
        });
        let call = checks.iter().fold(call, |call, Check { policy, .. }| match policy.strategy {
            Strategy::FixedWindow => call.arg("fixed_window").arg(policy.quota).arg(micros(policy.window)),
            Strategy::Gcra => call.arg("gcra").arg(policy.quota).arg(nanos(period(policy))),
        });
        call.once()
    }

    async fn ask_fallback(&self, checks: &[Check], mode: Mode) -> Verdict {
        let replicas = (self.replicas)();
        let shared: Vec<Check> = checks.iter().map(|check| share(check, replicas)).collect();
        let verdict = match mode {
            Mode::Count => self.fallback.decide(&shared).await,
            Mode::Look => self.fallback.look(&shared).await,
        };
        Verdict { backend: Backend::Fallback, ..verdict }
    }

    fn missed(&self) {
        *self.missed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.redis.health().degrade(Feature::Limits, true);
    }

    fn recovered(&self) {
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        if missed.is_some_and(|last| last.elapsed() >= CALM) && self.redis.is_open_for_calls() {
            *missed = None;
            drop(missed);
            self.redis.health().degrade(Feature::Limits, false);
        }
    }
}

#[async_trait]
impl Limiter for RedisLimiter {
    async fn decide(&self, checks: &[Check]) -> Verdict {
        self.ask(checks, Mode::Count).await
    }

    async fn look(&self, checks: &[Check]) -> Verdict {
        self.ask(checks, Mode::Look).await
    }

    fn backends(&self) -> &'static [Backend] {
        &[Backend::Redis, Backend::Fallback]
    }
}

/// What one replica of so many may allow: never nothing.
fn share(check: &Check, replicas: usize) -> Check {
    let replicas = u32::try_from(replicas).unwrap_or(u32::MAX).max(1);
    let quota = check.policy.quota.div_ceil(replicas).max(1);
    let policy = Arc::new(Policy { quota, ..(*check.policy).clone() });
    Check { policy, subject: check.subject.clone() }
}

fn standing(policy: &Arc<Policy>, (remaining, whole, wait): Said) -> Standing {
    let retry_after = u64::try_from(wait).ok().map(Duration::from_micros);
    Reading { remaining, reset: Duration::from_micros(whole), retry_after }.standing(policy)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
