//! How fast a client may send.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

/// At most so many frames per second, as a generic cell rate algorithm (ITU-T I.371): one moment is all its state.
#[derive(Debug)]
pub(super) struct Pace {
    per_frame: Duration,
    /// When all frames so far would be over if they had come evenly.
    even: Instant,
}

impl Pace {
    pub fn new(per_second: NonZeroU32, now: Instant) -> Self {
        Self { per_frame: Duration::from_secs(1) / per_second.get(), even: now }
    }

    /// Counts a frame; whether it was still within the pace. A whole second's worth may come at once.
    pub fn keeps(&mut self, now: Instant) -> bool {
        self.even = self.even.max(now) + self.per_frame;
        self.even - now <= Duration::from_secs(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_s_worth_may_come_at_once_and_then_one_at_a_time() {
        let now = Instant::now();
        let mut pace = Pace::new(NonZeroU32::new(50).unwrap(), now);
        assert!((0..50).all(|_| pace.keeps(now)));
        assert!(pace.keeps(now + Duration::from_millis(20)));
        assert!(!pace.keeps(now + Duration::from_millis(20)));
    }
}
