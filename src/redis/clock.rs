//! The time as Redis has it: replicas disagree about the time, and what they share is dated by one clock.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::words::Timestamp;

/// How far Redis' clock is from this machine's. Learned from every sign of life; kept while Redis cannot be asked.
#[derive(Debug, Default)]
pub struct Clock {
    /// Milliseconds that Redis is ahead.
    ahead: AtomicI64,
}

impl Clock {
    /// Now, by Redis' clock.
    pub fn now(&self) -> Timestamp {
        self.shared(Timestamp::now())
    }

    /// A moment of this machine's clock, in Redis' terms.
    pub fn shared(&self, own: Timestamp) -> Timestamp {
        moved(own, self.ahead.load(Ordering::Relaxed))
    }

    /// A moment of Redis' clock, in this machine's terms.
    pub fn own(&self, shared: Timestamp) -> Timestamp {
        moved(shared, -self.ahead.load(Ordering::Relaxed))
    }

    /// Redis said that it is `shared`, in an answer to what was asked at `asked`: it is taken for the middle of the way.
    pub fn learn(&self, shared: Timestamp, asked: Timestamp) {
        let middle = asked.as_millis().midpoint(Timestamp::now().as_millis());
        self.ahead.store(shared.as_millis() as i64 - middle as i64, Ordering::Relaxed);
    }
}

fn moved(moment: Timestamp, by: i64) -> Timestamp {
    Timestamp::from_millis(moment.as_millis().saturating_add_signed(by))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_translated_there_and_back() {
        let clock = Clock::default();
        let now = Timestamp::now();
        clock.learn(Timestamp::from_millis(now.as_millis() + 120_000), now);
        let own = Timestamp::from_millis(5_000_000);
        let shared = clock.shared(own).as_millis();
        assert!((5_119_000..=5_121_000).contains(&shared), "{shared}");
        assert_eq!(clock.own(clock.shared(own)), own);
    }
}
