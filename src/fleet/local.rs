//! The fleet of one process: one replica, or several in a test.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::observer::Observer;
use super::{Fleet, FleetUnavailable, Presence};
use crate::words::ReplicaId;

/// Every replica's number; the replicas of one process share one.
#[derive(Debug, Default)]
pub struct LocalFleet {
    numbers: Mutex<HashMap<ReplicaId, u64>>,
}

impl LocalFleet {
    fn numbers(&self) -> MutexGuard<'_, HashMap<ReplicaId, u64>> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One replica's presence in a [`LocalFleet`]. Dropped without [`Presence::leave`] it looks like a crash.
#[derive(Debug)]
pub struct LocalPresence {
    fleet: Arc<LocalFleet>,
    me: ReplicaId,
    observer: Mutex<Observer>,
}

impl LocalPresence {
    /// Replica `me`, which takes others for dead after `lease`.
    pub fn new(fleet: Arc<LocalFleet>, me: ReplicaId, lease: Duration) -> Self {
        Self { fleet, me, observer: Mutex::new(Observer::new(lease)) }
    }
}

#[async_trait]
impl Presence for LocalPresence {
    async fn beat(&self) -> Result<Fleet, FleetUnavailable> {
        let mut numbers = self.fleet.numbers();
        *numbers.entry(self.me.clone()).or_default() += 1;
        let all: Vec<_> = numbers.iter().map(|(replica, number)| (replica.clone(), *number)).collect();
        drop(numbers);
        Ok(self.observer.lock().unwrap_or_else(PoisonError::into_inner).saw(all))
    }

    async fn bury(&self, dead: &ReplicaId) -> Result<(), FleetUnavailable> {
        self.fleet.numbers().remove(dead);
        Ok(())
    }

    async fn leave(&self) -> Result<(), FleetUnavailable> {
        self.fleet.numbers().remove(&self.me);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn replicas_of_one_process_see_each_other_live_leave_and_die() {
        let fleet = Arc::new(LocalFleet::default());
        let replica = |name: &str| LocalPresence::new(Arc::clone(&fleet), name.parse().unwrap(), LEASE);
        let (a, b, c) = (replica("a"), replica("b"), replica("c"));
        b.beat().await.unwrap();
        c.beat().await.unwrap();
        assert_eq!(a.beat().await.unwrap().alive.len(), 3);

        c.leave().await.unwrap();
        drop(b);
        let mut seen = Fleet::default();
        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(1)).await;
            seen = a.beat().await.unwrap();
        }

        assert_eq!(seen, Fleet { alive: vec!["a".parse().unwrap()], dead: vec!["b".parse().unwrap()] });
    }
}
