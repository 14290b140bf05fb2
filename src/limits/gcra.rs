//! So many at once, coming back one by one (the generic cell rate algorithm), as the `governor` crate decides it.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

use super::Policy;
use super::local::Reading;
use super::slots::{Ends, Slots};

/// The moment of the decision, as time since the limiter began: one for all policies of a request.
#[derive(Debug, Default)]
struct Moment(Cell<Duration>);

impl Clock for Moment {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.get()
    }
}

/// Where governor reads a subject's theoretical arrival time and leaves the next one, in nanoseconds since the limiter
/// began. Whoever asks decides whether that one is kept: so several policies can be asked before any of them counts.
#[derive(Debug, Default)]
struct Register(AtomicU64);

/// The same register, seen from governor's side.
#[derive(Debug)]
struct Staging(Arc<Register>);

impl StateStore for Staging {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _key: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        // Everything happens under the limiter's lock; the atomic is only there because governor wants shared access.
        let arrival = Nanos::new(self.0.0.load(Ordering::Relaxed));
        let (outcome, next) = decide(Some(arrival))?;
        self.0.0.store(next.as_u64(), Ordering::Relaxed);
        Ok(outcome)
    }
}

/// A subject's theoretical arrival time: at it, the quota is whole again.
#[derive(Clone, Copy, Debug)]
struct Arrival(Duration);

impl Ends for Arrival {
    fn ends(&self) -> Duration {
        self.0
    }
}

/// The governor of one policy.
type Asked = RateLimiter<NotKeyed, Staging, Moment, StateInformationMiddleware>;

/// The arrival times of one policy's subjects.
#[derive(Debug)]
pub(super) struct Gcra {
    quota: Quota,
    limiter: Asked,
    register: Arc<Register>,
    arrivals: Slots<Arrival>,
}

impl Gcra {
    pub(super) fn new(policy: &Policy, most_subjects: usize) -> Self {
        let (quota, register) = (quota_of(policy), Arc::default());
        Self { quota, limiter: limiter(quota, &register), register, arrivals: Slots::new(most_subjects) }
    }

    /// How the subject stands, counting nothing.
    pub(super) fn look(&mut self, policy: &Policy, subject: &str, now: Duration) -> Reading {
        let arrival = self.arrival(subject, now);
        let mut reading = self.ask(policy, arrival, now);
        reading.reset = arrival.saturating_sub(now);
        if reading.retry_after.is_none() {
            reading.remaining = reading.remaining.saturating_add(1);
        }
        reading
    }

    /// Counts one that [`Self::look`] allowed.
    pub(super) fn count(&mut self, policy: &Policy, subject: &str, now: Duration) -> Reading {
        let arrival = self.arrival(subject, now);
        let mut reading = self.ask(policy, arrival, now);
        let next = Duration::from_nanos(self.register.0.load(Ordering::Relaxed));
        self.arrivals.put(subject, Arrival(next), now);
        reading.reset = next.saturating_sub(now);
        reading
    }

    /// A subject that is not known might as well have arrived now.
    fn arrival(&self, subject: &str, now: Duration) -> Duration {
        self.arrivals.get(subject, now).map_or(now, |arrival| arrival.0)
    }

    /// Has governor decide; `remaining` is what would be left after one more.
    fn ask(&mut self, policy: &Policy, arrival: Duration, now: Duration) -> Reading {
        let quota = quota_of(policy);
        if quota != self.quota {
            (self.quota, self.limiter) = (quota, limiter(quota, &self.register));
        }
        self.register.0.store(Nanos::from(arrival).as_u64(), Ordering::Relaxed);
        self.limiter.clock().0.set(now);
        match self.limiter.check() {
            Ok(state) => Reading {
                remaining: state.remaining_burst_capacity(),
                reset: Duration::ZERO,
                retry_after: None,
            },
            Err(refused) => Reading {
                remaining: 0,
                reset: Duration::ZERO,
                retry_after: Some(refused.wait_time_from(now)),
            },
        }
    }
}

fn limiter(quota: Quota, register: &Arc<Register>) -> Asked {
    Asked::new(quota, Staging(Arc::clone(register)), Moment::default())
}

/// The whole quota at once, and all of it back within one window.
fn quota_of(policy: &Policy) -> Quota {
    let burst = NonZeroU32::new(policy.quota).unwrap_or(NonZeroU32::MIN);
    Quota::with_period(period(policy)).unwrap_or(Quota::per_second(burst)).allow_burst(burst)
}

/// The time in which one comes back.
pub(super) fn period(policy: &Policy) -> Duration {
    (policy.window / policy.quota.max(1)).max(Duration::from_nanos(1))
}
