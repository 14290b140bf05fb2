//! How Redis is: what works in a smaller way without it, and when what it holds may be less than what it confirmed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::telemetry::metrics::{Feature, Label as _, Metrics};

/// For how long after a return Redis may lack what it is about to be given again: whoever has copies waits no longer than
/// this before the next attempt to write them.
const CATCHING_UP: Duration = Duration::from_secs(5);

/// How often Redis came back, and how often it had lost everything. Whoever keeps copies looks at them when it grows:
/// after a return the last writes may be missing (a failover), after a loss everything is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resync {
    /// Returns so far.
    pub returns: u64,
    /// Losses so far.
    pub losses: u64,
}

/// How Redis is. Clones are the same.
#[derive(Clone)]
pub struct Health {
    shared: Arc<Shared>,
}

/// How the last signs of life went.
#[derive(Default)]
struct Signs {
    were_answered: bool,
    in_a_row: u32,
}

struct Shared {
    features: BTreeSet<Feature>,
    degraded: Mutex<BTreeSet<Feature>>,
    closed: AtomicBool,
    signs: Mutex<Signs>,
    resync: watch::Sender<Resync>,
    doubted: Mutex<Option<Instant>>,
    warnings: Mutex<BTreeSet<String>>,
    metrics: Arc<Metrics>,
}

impl Health {
    /// All is well; `features` are those that use Redis.
    pub(super) fn new(features: &[Feature], metrics: Arc<Metrics>) -> Self {
        for feature in Feature::ALL {
            metrics.redis.degraded.touch(&(*feature,));
        }
        let shared = Shared {
            features: features.iter().copied().collect(),
            degraded: Mutex::default(),
            closed: AtomicBool::new(true),
            signs: Mutex::default(),
            resync: watch::Sender::new(Resync::default()),
            doubted: Mutex::default(),
            warnings: Mutex::default(),
            metrics,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Tells when data may be missing.
    pub fn resync(&self) -> watch::Receiver<Resync> {
        self.shared.resync.subscribe()
    }

    /// Whether Redis came back so lately that what it does not have may only not have been given back to it yet. Then "not
    /// there" means "nobody can tell".
    pub fn is_catching_up(&self) -> bool {
        lock(&self.shared.doubted).is_some_and(|since| since.elapsed() < CATCHING_UP)
    }

    /// What Redis does not have is in doubt from now on; said before anybody can ask what came back.
    pub(super) fn is_doubted(&self) {
        *lock(&self.shared.doubted) = Some(Instant::now());
    }

    /// Says whether a feature works in a smaller way now; a change is logged.
    pub fn degrade(&self, feature: Feature, is_degraded: bool) {
        let mut degraded = lock(&self.shared.degraded);
        let changed = if is_degraded { degraded.insert(feature) } else { degraded.remove(&feature) };
        drop(degraded);
        if !changed {
            return;
        }
        self.shared.metrics.redis.degraded.set(&(feature,), i64::from(is_degraded));
        let feature = feature.as_label();
        if is_degraded {
            warn!(event = "redis_degraded", feature, "works without redis, in a smaller way");
        } else {
            info!(event = "redis_recovered", feature, "works with redis again");
        }
    }

    /// What works in a smaller way now.
    pub fn degraded(&self) -> Vec<Feature> {
        lock(&self.shared.degraded).iter().copied().collect()
    }

    /// Redis was found to have lost what it held.
    pub fn lost(&self) {
        warn!(
            event = "redis_data_lost",
            "redis has lost its data; what this replica still has is written again"
        );
        self.is_doubted();
        self.shared.metrics.redis.data_lost.inc(&());
        self.shared.resync.send_modify(|resync| resync.losses += 1);
    }

    /// Something an operator should know, once.
    pub fn warn(&self, warning: String) {
        if lock(&self.shared.warnings).insert(warning.clone()) {
            warn!(event = "configuration_warning", warning, "redis is odd");
        }
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        lock(&self.shared.warnings).iter().cloned().collect()
    }

    /// A connection came back, maybe to another machine than before.
    pub(super) fn returned(&self) {
        self.is_doubted();
        self.shared.resync.send_modify(|resync| resync.returns += 1);
    }

    /// Takes in how a sign of life went; how many in a row went like this.
    pub(super) fn knocked(&self, answered: bool) -> u32 {
        let mut signs = lock(&self.shared.signs);
        let before = if signs.were_answered == answered { signs.in_a_row } else { 0 };
        *signs = Signs { were_answered: answered, in_a_row: before.saturating_add(1) };
        signs.in_a_row
    }

    /// Takes in whether the breaker lets calls through.
    pub(super) fn closed(&self, is_closed: bool) {
        if self.shared.closed.swap(is_closed, Ordering::Relaxed) == is_closed {
            return;
        }
        for feature in &self.shared.features {
            self.degrade(*feature, !is_closed);
        }
        if is_closed {
            self.returned();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_degraded_while_the_breaker_is_open_and_copies_are_looked_at_afterwards() {
        let metrics = Arc::new(Metrics::new());
        let health = Health::new(&[Feature::Turns, Feature::Memory], Arc::clone(&metrics));
        let resync = health.resync();
        health.closed(false);
        health.closed(false);
        assert_eq!(health.degraded(), [Feature::Memory, Feature::Turns]);
        assert_eq!(metrics.redis.degraded.get(&(Feature::Turns,)), 1);
        assert_eq!(*resync.borrow(), Resync::default());

        health.closed(true);
        assert_eq!(health.degraded(), []);
        assert_eq!(resync.borrow().returns, 1);
        health.lost();
        assert_eq!(*resync.borrow(), Resync { returns: 1, losses: 1 });
    }

    #[test]
    fn signs_of_life_are_counted_while_they_are_alike() {
        let health = Health::new(&[], Arc::new(Metrics::new()));
        let signs = [true, true, false, true, false, false, false];
        assert_eq!(signs.map(|answered| health.knocked(answered)), [1, 2, 1, 1, 1, 2, 3]);
    }
}
