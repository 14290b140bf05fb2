//! How often, and after which waits, something is tried again. Only decides; the caller sleeps.

use std::time::Duration;

use rand::Rng as _;

use crate::config;

/// A pause of about this length, drawn from its upper half, so that many who wait do not come back all at once.
pub fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..1.0))
}

/// Attempts in all, and the waits between them: the first, doubled each time, up to a longest.
///
/// The waits have *equal jitter* (Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015): half of
/// the wait is kept, the other half is random. Full jitter spreads a little better, but may come back at once, and the
/// contract promises a wait.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    settings: config::Retry,
}

impl RetryPolicy {
    /// The policy of these settings.
    pub fn new(settings: config::Retry) -> Self {
        Self { settings }
    }

    /// How long to wait after attempt number `ended` (from 1) failed; `None` to give up.
    ///
    /// `asked` is what the other side said (`Retry-After`): it is never undercut, and if it is longer than the longest
    /// wait we give up instead. So we do when the wait would not end within `left`. `random` is in 0..1.
    pub fn wait(&self, ended: u32, asked: Option<Duration>, left: Duration, random: f64) -> Option<Duration> {
        let longest = *self.settings.max_wait;
        let asked = asked.unwrap_or_default();
        if ended >= self.settings.attempts.get() || asked > longest {
            return None;
        }
        let half = self.backoff(ended) / 2;
        let wait = (asked.max(half) + half.mul_f64(random.clamp(0.0, 1.0))).min(longest);
        (wait < left).then_some(wait)
    }

    /// Attempts in all.
    pub fn attempts(&self) -> u32 {
        self.settings.attempts.get()
    }

    /// The whole wait after attempt number `ended`, before jitter.
    fn backoff(&self, ended: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(ended.saturating_sub(1));
        self.settings.wait.saturating_mul(doubled).min(*self.settings.max_wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Span;

    const LONG: Duration = Duration::from_secs(3600);

    fn seconds(seconds: f64) -> Option<Duration> {
        Some(Duration::from_secs_f64(seconds))
    }

    fn policy(attempts: u32) -> RetryPolicy {
        RetryPolicy::new(config::Retry {
            attempts: attempts.try_into().unwrap(),
            wait: Span(Duration::from_secs(1)),
            max_wait: Span(Duration::from_secs(10)),
        })
    }

    #[test]
    fn waits_double_up_to_the_longest_and_keep_at_least_half() {
        let waits = [1.0, 2.0, 4.0, 8.0, 10.0, 10.0];
        for (ended, whole) in (1..).zip(waits) {
            assert_eq!(policy(9).wait(ended, None, LONG, 0.0), seconds(whole / 2.0));
            assert_eq!(policy(9).wait(ended, None, LONG, 1.0), seconds(whole));
        }
    }

    #[test]
    fn attempts_are_counted_in_all() {
        assert!(policy(3).wait(2, None, LONG, 0.5).is_some());
        assert_eq!(policy(3).wait(3, None, LONG, 0.5), None);
        assert_eq!(policy(1).wait(1, None, LONG, 0.5), None);
    }

    #[test]
    fn what_the_other_side_asks_is_never_undercut_and_beyond_the_longest_wait_given_up() {
        assert_eq!(policy(3).wait(1, seconds(3.0), LONG, 0.0), seconds(3.0));
        assert_eq!(policy(3).wait(1, seconds(3.0), LONG, 1.0), seconds(3.5));
        assert_eq!(policy(3).wait(1, seconds(10.0), LONG, 1.0), seconds(10.0));
        assert_eq!(policy(3).wait(1, seconds(10.1), LONG, 0.0), None);
        assert_eq!(policy(3).wait(1, seconds(0.0), LONG, 0.0), seconds(0.5));
    }

    #[test]
    fn a_wait_that_would_reach_the_deadline_is_not_begun() {
        let left = Duration::from_millis(500);
        assert_eq!(policy(3).wait(1, None, left, 0.0), None);
        assert_eq!(policy(3).wait(1, None, left + Duration::from_millis(1), 0.0), seconds(0.5));
        assert_eq!(policy(3).wait(1, seconds(2.0), Duration::from_secs(2), 0.0), None);
    }

    #[test]
    fn a_hundredth_attempt_overflows_nothing() {
        assert_eq!(policy(200).wait(100, None, LONG, 1.0), seconds(10.0));
    }
}
