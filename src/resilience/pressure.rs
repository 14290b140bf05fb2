//! How long work waits for a processor in this process, and which share of new work is refused so that it does not wait longer.
//!
//! A PI controller as in PIE (RFC 8033 §4.2): the share rises while work waits longer than it may and while it waits longer than
//! it did, and falls the same way. To refuse all or nothing would have the processor idle after it was overwhelmed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How often it is measured. Under load each measurement waits in the queue that it measures, so that it is as frequent as the
/// queue is short.
const TICK: Duration = Duration::from_millis(5);
/// How long work has to wait too long before anything is refused: a stop of the whole process, however long, is over when it is
/// noticed. As in CoDel (RFC 8289 §3), a queue that stands is what matters, not one that passes.
const STANDING: Duration = Duration::from_millis(300);
/// For how long after that the first sign is enough.
const ALERT: Duration = Duration::from_secs(10);
/// By how much the share rises for each second that work waits longer than it did. PIE has 1.25; a turn's work follows its
/// admission within a tenth of a second, so that more is still stable.
const PROPORTIONAL: f64 = 2.0;
/// By how much it rises in a second for each second that work waits longer than it may. PIE has 0.125 in 15 ms, which is 8.3;
/// half of that overshoots less.
const INTEGRAL: f64 = 4.0;
/// A measurement counts for at most so long.
const LONGEST: Duration = Duration::from_millis(100);
/// Shares are kept as so many parts.
const PARTS: f64 = 65_536.0;

/// Measures how late a timer fires, which is how long a task that is ready waits to run.
#[derive(Debug)]
pub struct Pressure {
    most: Duration,
    waited_us: AtomicU64,
    share: AtomicU64,
    asked: AtomicU64,
}

/// What was seen so far.
#[derive(Default)]
struct Seen {
    at: Option<Instant>,
    waited: Duration,
    above_since: Option<Instant>,
    high_at: Option<Instant>,
    share: f64,
}

impl Pressure {
    /// Work may wait for `most`; for zero, as long as it likes.
    pub fn new(most: Duration) -> Self {
        Self { most, waited_us: AtomicU64::new(0), share: AtomicU64::new(0), asked: AtomicU64::new(0) }
    }

    /// Whether one more piece of work should be refused. Of many that ask, the share is; evenly spread, not by chance, so that
    /// few are refused in a row (RFC 8033 §5.4).
    pub fn refuses(&self) -> bool {
        let share = self.share.load(Ordering::Relaxed);
        if share == 0 {
            return false;
        }
        let before = self.asked.fetch_add(share, Ordering::Relaxed);
        before / PARTS as u64 != before.wrapping_add(share) / PARTS as u64
    }

    /// The share of new work that is refused, 0 to 1.
    pub fn share(&self) -> f64 {
        self.share.load(Ordering::Relaxed) as f64 / PARTS
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
            if !self.most.is_zero() {
                let share = seen.next(waited, self.most, Instant::now());
                self.share.store((share * PARTS) as u64, Ordering::Relaxed);
            }
        }
    }
}

impl Seen {
    /// The share to refuse, now that work waited for so long.
    fn next(&mut self, waited: Duration, most: Duration, now: Instant) -> f64 {
        let passed = self.at.replace(now).map_or(TICK, |at| now - at).min(LONGEST);
        let was = std::mem::replace(&mut self.waited, waited);
        if self.share == 0.0 && !self.is_standing(waited > most, now) {
            return 0.0;
        }
        // What was longer before anything was refused counts as what it is above.
        let was = if self.share == 0.0 { most } else { was };
        let rise = PROPORTIONAL * (waited.as_secs_f64() - was.as_secs_f64());
        let excess = INTEGRAL * passed.as_secs_f64() * (waited.as_secs_f64() - most.as_secs_f64());
        self.share = (self.share + rise + excess).clamp(0.0, 1.0);
        if self.share > 0.0 {
            self.high_at = Some(now);
        }
        self.share
    }

    /// Whether the queue stands. Asked while nothing is refused.
    fn is_standing(&mut self, is_above: bool, now: Instant) -> bool {
        if !is_above {
            self.above_since = None;
            return false;
        }
        let since = *self.above_since.get_or_insert(now);
        let is_alert = self.high_at.is_some_and(|at| now - at < ALERT);
        is_alert || now - since >= STANDING
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
        assert_eq!(pressure.share(), 0.0, "the process stood still once: {:?}", pressure.waited());
        stall(Duration::ZERO, 1).await;
        stall(LONG, 2).await;
        assert_eq!(pressure.share(), 0.0, "not for long enough");
        stall(LONG, 2).await;
        assert!(pressure.share() > 0.0, "{:?}", pressure.waited());
        assert!(pressure.waited() >= LONG);
    }

    #[tokio::test(start_paused = true)]
    async fn more_is_refused_as_long_as_it_is_too_much_and_less_when_it_is_not() {
        let pressure = watched(MOST);
        let (mut shares, mut asked) = (Vec::new(), Vec::new());
        for _ in 0..12 {
            stall(LONG, 5).await;
            shares.push(pressure.share());
            asked.push((0..1000).filter(|_| pressure.refuses()).count());
        }
        assert!(shares.is_sorted() && shares[3] < 0.9, "step by step: {shares:?}");
        assert_eq!(shares[11], 1.0, "until all are: {shares:?}");
        for (share, refused) in shares.iter().zip(asked) {
            let off = (share * 1000.0 - refused as f64).abs();
            assert!(off <= 1.0, "of a thousand, {refused} were refused for {share}");
        }
        stall(MOST, 5).await;
        let before = pressure.share();
        stall(MOST / 2, 5).await;
        assert!(before < 1.0 && pressure.share() < before, "{before}, then {}", pressure.share());
        stall(Duration::ZERO, 1000).await;
        assert_eq!(pressure.share(), 0.0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_back_soon_is_known_and_long_after_it_is_not() {
        let pressure = watched(MOST);
        stall(LONG, 4).await;
        assert!(pressure.share() > 0.0);
        stall(Duration::ZERO, 200).await;
        assert_eq!(pressure.share(), 0.0, "there is room again");
        stall(LONG, 1).await;
        assert!(pressure.share() > 0.0, "the first sign is enough");
        stall(Duration::ZERO, 200).await;
        stall(ALERT, 1).await;
        assert_eq!(pressure.share(), 0.0, "long after, it is not");
    }

    /// A queue that this one guards: one processor, work that comes at twice the rate it can do, and a refusal that costs a
    /// tenth of it.
    #[tokio::test(start_paused = true)]
    async fn at_twice_the_peak_the_processor_stays_busy_and_the_queue_short() {
        let pressure = watched(MOST);
        let (mut queue, mut done, mut longest) = (Duration::ZERO, 0.0, Duration::ZERO);
        let mut settled = false;
        for round in 0..2000 {
            let waited = queue;
            stall(waited, 1).await;
            let passed = (TICK + waited).as_secs_f64();
            // Of two seconds' work for each second, so much is let in; the rest costs a tenth.
            let share = pressure.share();
            let came = passed * 2.0 * (1.0 - share) + passed * 0.2 * share;
            let left = (queue.as_secs_f64() + came - passed).max(0.0);
            let idle = (passed - queue.as_secs_f64() - came).max(0.0);
            queue = Duration::from_secs_f64(left);
            settled |= round > 200;
            if settled {
                longest = longest.max(queue);
                done += 1.0 - idle / passed;
            }
        }
        assert!(longest < MOST * 2, "{longest:?}");
        assert!(done / 1799.0 > 0.97, "busy for {done} of 1799 rounds");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_too_much_where_it_is_switched_off() {
        let pressure = watched(Duration::ZERO);
        stall(Duration::from_secs(1), 5).await;
        assert_eq!((pressure.share(), pressure.refuses()), (0.0, false));
    }
}
