//! How long work waits for a processor in this process, and whether that is too long to take on more.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How often it is measured. Under load each measurement waits in the queue that it measures, so that it is as frequent as the
/// queue is short.
const TICK: Duration = Duration::from_millis(5);
/// How long work has to wait too long before it counts: a stop of the whole process, however long, is over when it is noticed.
/// As in CoDel (RFC 8289 §3), a queue that stands is what matters, not one that passes.
const STANDING: Duration = Duration::from_millis(300);
/// For how long after that the first sign is enough.
const ALERT: Duration = Duration::from_secs(10);

/// Measures how late a timer fires, which is how long a task that is ready waits to run.
#[derive(Debug)]
pub struct Pressure {
    most: Duration,
    waited_us: AtomicU64,
    is_high: AtomicBool,
}

/// What was seen so far.
#[derive(Default)]
struct Seen {
    above_since: Option<Instant>,
    high_at: Option<Instant>,
}

impl Pressure {
    /// Work may wait for `most`; for zero, as long as it likes.
    pub fn new(most: Duration) -> Self {
        Self { most, waited_us: AtomicU64::new(0), is_high: AtomicBool::new(false) }
    }

    /// Whether nothing more should be begun.
    pub fn is_high(&self) -> bool {
        self.is_high.load(Ordering::Relaxed)
    }

    /// How long work waited when that was last looked at.
    pub fn waited(&self) -> Duration {
        Duration::from_micros(self.waited_us.load(Ordering::Relaxed))
    }

    /// Measures for ever.
    pub async fn watch(&self) {
        let mut seen = Seen::default();
        loop {
            let due = Instant::now() + TICK;
            sleep_until(due).await;
            let waited = due.elapsed();
            self.waited_us.store(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
            let is_above = !self.most.is_zero() && waited > self.most;
            self.is_high.store(seen.is_high(is_above, Instant::now()), Ordering::Relaxed);
        }
    }
}

impl Seen {
    fn is_high(&mut self, is_above: bool, now: Instant) -> bool {
        if !is_above {
            self.above_since = None;
            return false;
        }
        let since = *self.above_since.get_or_insert(now);
        let is_alert = self.high_at.is_some_and(|at| now - at < ALERT);
        let is_high = is_alert || now - since >= STANDING;
        if is_high {
            self.high_at = Some(now);
        }
        is_high
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::advance;

    use super::*;

    /// The processor is busy with something else for so long, `times` times.
    async fn stall(long: Duration, times: u32) {
        for _ in 0..times {
            // The timer is set anew before time goes on.
            tokio::task::yield_now().await;
            advance(TICK + long).await;
            tokio::task::yield_now().await;
        }
    }

    fn watched(most: Duration) -> Arc<Pressure> {
        let pressure = Arc::new(Pressure::new(most));
        let watched = Arc::clone(&pressure);
        crate::shutdown::Shutdown::new().spawn(async move { watched.watch().await });
        pressure
    }

    const MOST: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_millis(150);

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_stands_is_too_much_and_one_that_passes_is_not() {
        let pressure = watched(MOST);
        stall(Duration::from_secs(5), 1).await;
        assert!(!pressure.is_high(), "the process stood still once: {:?}", pressure.waited());
        stall(Duration::ZERO, 1).await;
        stall(LONG, 2).await;
        assert!(!pressure.is_high(), "not for long enough");
        stall(LONG, 2).await;
        assert!(pressure.is_high(), "{:?}", pressure.waited());
        assert!(pressure.waited() >= LONG);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_over_at_once_and_what_comes_back_is_known() {
        let pressure = watched(MOST);
        stall(LONG, 4).await;
        assert!(pressure.is_high());
        stall(MOST / 2, 1).await;
        assert!(!pressure.is_high(), "there is room again");
        stall(LONG, 1).await;
        assert!(pressure.is_high(), "the first sign is enough");
        stall(Duration::ZERO, 2).await;
        stall(ALERT, 1).await;
        assert!(!pressure.is_high(), "long after, it is not");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_too_much_where_it_is_switched_off() {
        let pressure = watched(Duration::ZERO);
        stall(Duration::from_secs(1), 5).await;
        assert!(!pressure.is_high());
    }
}
