//! So many within a window that starts with a subject's first request in it.

use std::time::Duration;

use super::Policy;
use super::local::Reading;
use super::slots::{Ends, Slots};

/// A subject's window.
#[derive(Clone, Copy, Debug)]
struct Window {
    ends: Duration,
    used: u32,
}

impl Ends for Window {
    fn ends(&self) -> Duration {
        self.ends
    }
}

/// The windows of one policy's subjects.
#[derive(Debug)]
pub(super) struct FixedWindow {
    windows: Slots<Window>,
}

impl FixedWindow {
    pub(super) fn new(most_subjects: usize) -> Self {
        Self { windows: Slots::new(most_subjects) }
    }

    /// How the subject stands, counting nothing.
    pub(super) fn look(&self, policy: &Policy, subject: &str, now: Duration) -> Reading {
        let Some(window) = self.windows.get(subject, now) else {
            return Reading { remaining: policy.quota, reset: Duration::ZERO, retry_after: None };
        };
        let remaining = policy.quota.saturating_sub(window.used);
        let reset = window.ends.saturating_sub(now);
        Reading { remaining, reset, retry_after: (remaining == 0).then_some(reset) }
    }

    /// Counts one that [`Self::look`] allowed.
    pub(super) fn count(&mut self, policy: &Policy, subject: &str, now: Duration) -> Reading {
        let fresh = Window { ends: now.saturating_add(policy.window), used: 0 };
        let mut window = self.windows.get(subject, now).unwrap_or(fresh);
        window.used = window.used.saturating_add(1);
        self.windows.put(subject, window, now);

        let remaining = policy.quota.saturating_sub(window.used);
        Reading { remaining, reset: window.ends.saturating_sub(now), retry_after: None }
    }
}
