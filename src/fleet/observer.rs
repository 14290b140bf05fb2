//! Who counts as dead: an observer's own conclusion from numbers that move or do not.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Fleet;
use crate::words::ReplicaId;

/// What one replica remembers of the others' numbers. Only this observer's monotonic clock counts, and only the time in
/// which it could look: after a failed or a late beat it starts to watch anew, so the end of an outage, or of its own
/// standstill, makes nobody look dead.
#[derive(Debug)]
pub(super) struct Observer {
    lease: Duration,
    seen: HashMap<ReplicaId, Sight>,
    looked: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Sight {
    number: u64,
    since: Instant,
}

impl Observer {
    pub(super) fn new(lease: Duration) -> Self {
        Self { lease, seen: HashMap::new(), looked: None }
    }

    /// Takes in what a beat that succeeded has found.
    pub(super) fn saw(&mut self, numbers: impl IntoIterator<Item = (ReplicaId, u64)>) -> Fleet {
        let now = Instant::now();
        let kept_looking = self.looked.is_some_and(|last| now - last <= self.lease / 2);
        self.looked = Some(now);
        let before = std::mem::take(&mut self.seen);
        let mut fleet = Fleet::default();
        for (replica, number) in numbers {
            let unmoved = before.get(&replica).filter(|sight| kept_looking && sight.number == number);
            let since = unmoved.map_or(now, |sight| sight.since);
            let is_dead = now - since >= self.lease;
            if is_dead { &mut fleet.dead } else { &mut fleet.alive }.push(replica.clone());
            self.seen.insert(replica, Sight { number, since });
        }
        fleet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);
    const BEAT: Duration = Duration::from_secs(1);

    fn id(name: &str) -> ReplicaId {
        name.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_whose_number_stands_still_for_the_lease_is_dead() {
        let mut observer = Observer::new(LEASE);
        for beat in 0..10 {
            let fleet = observer.saw([(id("me"), beat), (id("silent"), 7)]);
            assert_eq!(fleet.dead, [], "after {beat} s");
            tokio::time::advance(BEAT).await;
        }
        let fleet = observer.saw([(id("me"), 10), (id("silent"), 7)]);
        assert_eq!((fleet.alive, fleet.dead), (vec![id("me")], vec![id("silent")]));
        tokio::time::advance(BEAT).await;
        assert_eq!(observer.saw([(id("me"), 11), (id("silent"), 8)]).dead, []);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_standstill_of_its_own_an_observer_accuses_nobody() {
        let mut observer = Observer::new(LEASE);
        observer.saw([(id("other"), 7)]);
        tokio::time::advance(LEASE * 3).await;
        assert_eq!(observer.saw([(id("other"), 7)]).dead, []);
    }
}
