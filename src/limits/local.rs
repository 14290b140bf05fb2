//! Limits decided in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::fixed_window::FixedWindow;
use super::gcra::Gcra;
use super::{Check, Limiter, Policy, Standing, Verdict};
use crate::config::Strategy;
use crate::telemetry::metrics::Backend;

/// Subjects one policy remembers, about 100 bytes each: so many different callers within one window, and a caller who
/// has more addresses than that is not what a limit by address can stop.
const MAX_SUBJECTS: usize = 100_000;

/// How a subject stands with one policy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) remaining: u32,
    pub(super) reset: Duration,
    pub(super) retry_after: Option<Duration>,
}

impl Reading {
    pub(super) fn standing(self, policy: &Arc<Policy>) -> Standing {
        let Self { remaining, reset, retry_after } = self;
        Standing { policy: Arc::clone(policy), remaining, reset, retry_after }
    }
}

/// Decides limits in this process: one short lock, so that all policies of a request are decided as one.
#[derive(Debug)]
pub struct LocalLimiter {
    began: Instant,
    counters: Mutex<Counters>,
}

impl LocalLimiter {
    /// Nobody has asked for anything yet.
    pub fn new() -> Self {
        Self::remembering(MAX_SUBJECTS)
    }

    /// Remembers at most so many subjects of each policy.
    fn remembering(most_subjects: usize) -> Self {
        let counters = Counters { by_policy: HashMap::new(), most_subjects };
        Self { began: Instant::now(), counters: Mutex::new(counters) }
    }

    fn with<R>(&self, ask: impl FnOnce(&mut Counters, Duration) -> R) -> R {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock: otherwise a decision could see an earlier moment than the one before it.
        ask(&mut counters, self.began.elapsed())
    }
}

impl Default for LocalLimiter {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Limiter for LocalLimiter {
    async fn decide(&self, checks: &[Check]) -> Verdict {
        let standings = self.with(|counters, now| {
            let found = counters.look(checks, now);
            let allowed = found.iter().all(|standing| standing.retry_after.is_none());
            if allowed { counters.count(checks, now) } else { found }
        });
        Verdict { standings, backend: Backend::Local }
    }

    async fn look(&self, checks: &[Check]) -> Verdict {
        let standings = self.with(|counters, now| counters.look(checks, now));
        Verdict { standings, backend: Backend::Local }
    }

    fn backends(&self) -> &'static [Backend] {
        &[Backend::Local]
    }
}

/// The counters of every policy; there are as many as the configuration names.
#[derive(Debug)]
struct Counters {
    by_policy: HashMap<Arc<str>, Counter>,
    most_subjects: usize,
}

#[derive(Debug)]
enum Counter {
    FixedWindow(FixedWindow),
    Gcra(Box<Gcra>),
}

impl Counters {
    fn look(&mut self, checks: &[Check], now: Duration) -> Vec<Standing> {
        let look = |check: &Check| {
            let policy = &check.policy;
            let reading = match self.counter(policy) {
                Counter::FixedWindow(counter) => counter.look(policy, &check.subject, now),
                Counter::Gcra(counter) => counter.look(policy, &check.subject, now),
            };
            reading.standing(policy)
        };
        checks.iter().map(look).collect()
    }

    fn count(&mut self, checks: &[Check], now: Duration) -> Vec<Standing> {
        let count = |check: &Check| {
            let policy = &check.policy;
            let reading = match self.counter(policy) {
                Counter::FixedWindow(counter) => counter.count(policy, &check.subject, now),
                Counter::Gcra(counter) => counter.count(policy, &check.subject, now),
            };
            reading.standing(policy)
        };
        checks.iter().map(count).collect()
    }

    fn counter(&mut self, policy: &Policy) -> &mut Counter {
        let most = self.most_subjects;
        self.by_policy.entry(Arc::clone(&policy.name)).or_insert_with(|| match policy.strategy {
            Strategy::FixedWindow => Counter::FixedWindow(FixedWindow::new(most)),
            Strategy::Gcra => Counter::Gcra(Box::new(Gcra::new(policy, most))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Scope;

    fn policy(quota: u32, strategy: Strategy) -> Arc<Policy> {
        let window = Duration::from_secs(60);
        Arc::new(Policy { name: "tried".into(), quota, window, scope: Scope::Ip, strategy })
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_callers_pushes_out_the_oldest_and_spares_the_newest() {
        for strategy in [Strategy::FixedWindow, Strategy::Gcra] {
            let (limiter, policy) = (LocalLimiter::remembering(50), policy(1, strategy));
            let ask = async |subject: String| {
                limiter.decide(&[Check { policy: Arc::clone(&policy), subject }]).await.is_allowed()
            };
            for n in 0..1000 {
                assert!(ask(format!("caller {n}")).await);
                assert!(!ask(format!("caller {n}")).await);
            }
            assert!(!ask("caller 960".into()).await, "still remembered");
            assert!(ask("caller 1".into()).await, "forgotten");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_smaller_share_of_a_policy_takes_effect_at_once() {
        for strategy in [Strategy::FixedWindow, Strategy::Gcra] {
            let limiter = LocalLimiter::new();
            let ask = async |quota| {
                let check = Check { policy: policy(quota, strategy), subject: "ada".into() };
                limiter.decide(&[check]).await.is_allowed()
            };
            for _ in 0..3 {
                assert!(ask(4).await);
            }
            assert!(!ask(2).await);
        }
    }
}
