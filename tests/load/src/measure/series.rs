//! What each second brought, for the progress line and the plot.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Times, milliseconds, times};
use crate::outcome::Outcome;

/// A day of seconds; older ones are forgotten first.
const MAX_SECONDS: usize = 86_400;

/// One second of a run.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Second {
    /// Which one, counted from the start of the run, warm-up included.
    pub second: u64,
    /// Turns completed in it.
    pub completed: u64,
    /// Turns refused in it.
    pub refused: u64,
    /// Turns that failed in it, and those with a flaw.
    pub errors: u64,
    /// Arrivals that could not wait.
    pub not_asked: u64,
    /// Half of its completed turns took no longer.
    pub p50_ms: f64,
    /// 99 of 100 took no longer.
    pub p99_ms: f64,
}

/// All seconds so far.
pub struct Series {
    start: Instant,
    done: VecDeque<Second>,
    current: Second,
    latency: Times,
}

impl Series {
    /// Counts seconds from `start`.
    pub(super) fn new(start: Instant) -> Self {
        let latency = times(2);
        Self { start, done: VecDeque::new(), current: Second::default(), latency }
    }

    pub(super) fn record(&mut self, now: Instant, due: Instant, outcome: &Outcome) {
        self.roll(now);
        match &outcome.result {
            Ok(()) => {
                self.current.completed += 1;
                let nanoseconds = u64::try_from((now - due).as_nanos()).unwrap_or(u64::MAX);
                self.latency.saturating_record(nanoseconds.max(1));
            }
            Err(fault) if fault.is_refusal => self.current.refused += 1,
            Err(_) => self.current.errors += 1,
        }
        self.current.errors += u64::from(!outcome.flaws.is_none());
    }

    pub(super) fn not_asked(&mut self) {
        self.current.not_asked += 1;
    }

    /// Ends the seconds that are over.
    pub fn roll(&mut self, now: Instant) {
        let second = now.saturating_duration_since(self.start).as_secs();
        while self.current.second < second {
            self.current.p50_ms = self.quantile(0.5);
            self.current.p99_ms = self.quantile(0.99);
            self.latency.reset();
            let next = Second { second: self.current.second + 1, ..Second::default() };
            self.done.push_back(std::mem::replace(&mut self.current, next));
            if self.done.len() > MAX_SECONDS {
                self.done.pop_front();
            }
        }
    }

    fn quantile(&self, quantile: f64) -> f64 {
        if self.latency.is_empty() {
            0.0
        } else {
            milliseconds(self.latency.value_at_quantile(quantile) as f64)
        }
    }

    /// The seconds that are over.
    pub fn seconds(&self) -> impl ExactSizeIterator<Item = &Second> {
        self.done.iter()
    }

    /// The newest second that is over.
    pub fn last(&self) -> Option<&Second> {
        self.done.back()
    }

    /// When the next second begins.
    pub fn next(&self) -> Instant {
        self.start + Duration::from_secs(self.current.second + 1)
    }
}
