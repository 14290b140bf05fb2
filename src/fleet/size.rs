//! How many replicas there are.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many replicas were alive when the fleet was last seen: what one replica's share is of, while nobody can be asked.
#[derive(Debug, Default)]
pub struct FleetSize {
    last: AtomicUsize,
}

impl FleetSize {
    /// So many are alive.
    pub fn set(&self, replicas: usize) {
        self.last.store(replicas, Ordering::Relaxed);
    }

    /// How many were alive last; this one always is.
    pub fn last(&self) -> usize {
        self.last.load(Ordering::Relaxed).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_is_alive_itself() {
        let size = FleetSize::default();
        assert_eq!(size.last(), 1);
        size.set(3);
        assert_eq!(size.last(), 3);
        size.set(0);
        assert_eq!(size.last(), 1);
    }
}
