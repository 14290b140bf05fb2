//! Whose sockets are to end, told from one replica to all.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::words::{PrincipalHash, Timestamp};

/// For how long a dismissal is told: replicas ask every second, so one that cannot be reached for a while still hears.
pub(super) const TOLD_FOR: Duration = Duration::from_mins(1);

/// How many are told at once; more often than that nobody dismisses anybody.
pub(super) const MOST_TOLD: usize = 1000;

/// Who was to go, and when that was said.
pub type Dismissal = (PrincipalHash, Timestamp);

/// Dismissals within one process.
#[derive(Debug, Default)]
pub(super) struct LocalDismissals(Mutex<VecDeque<(Instant, Dismissal)>>);

impl LocalDismissals {
    pub(super) fn add(&self, principal: PrincipalHash) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.push_back((Instant::now(), (principal, Timestamp::now())));
        if told.len() > MOST_TOLD {
            told.pop_front();
        }
    }

    pub(super) fn all(&self) -> Vec<Dismissal> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|(at, _)| at.elapsed() < TOLD_FOR);
        told.iter().map(|(_, dismissal)| *dismissal).collect()
    }
}
