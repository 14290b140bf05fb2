//! Keeping a noisy log event readable.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::metrics::{Name, Process};

/// Over how long lines of one event are counted.
const MINUTE: Duration = Duration::from_secs(60);

/// Lets one log event through at most so many times a minute; the rest are counted in
/// `log_lines_suppressed_total`. A minute begins with the first line in it.
///
/// ```text
/// if let Some(suppressed) = self.quiet.line(&self.metrics.process) {
///     warn!(event = "rate_limit_exceeded", suppressed, "too many requests");
/// }
/// ```
#[derive(Debug)]
pub struct Quiet {
    event: Name,
    most: u32,
    period: Duration,
    now: Mutex<Period>,
}

#[derive(Debug, Default)]
struct Period {
    began: Option<Instant>,
    written: u32,
    suppressed: u64,
}

impl Quiet {
    /// Lets `event` through at most `most` times a minute.
    pub fn new(event: &str, most: u32) -> Self {
        Self { event: event.into(), most, period: MINUTE, now: Mutex::default() }
    }

    /// Lets `event` through once in each `period`, for what goes on for a while and should be seen to.
    pub fn every(event: &str, period: Duration) -> Self {
        Self { period, ..Self::new(event, 1) }
    }

    /// Asks for one line: how many were left out since the last one that was written, or `None` if this one is to be
    /// left out too.
    pub fn line(&self, metrics: &Process) -> Option<u64> {
        let allowed = self.now.lock().unwrap_or_else(PoisonError::into_inner).line(self.most, self.period);
        if allowed.is_none() {
            metrics.suppressed.inc(&(self.event.clone(),));
        }
        allowed
    }
}

impl Period {
    fn line(&mut self, most: u32, period: Duration) -> Option<u64> {
        let now = Instant::now();
        if self.began.is_none_or(|began| now.duration_since(began) >= period) {
            self.began = Some(now);
            self.written = 0;
        }
        if self.written < most {
            self.written += 1;
            Some(std::mem::take(&mut self.suppressed))
        } else {
            self.suppressed += 1;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;

    #[tokio::test(start_paused = true)]
    async fn a_noisy_event_is_written_so_many_times_a_minute_and_the_rest_counted() {
        let (metrics, quiet) = (Metrics::new(), Quiet::new("noise", 2));

        let first: Vec<_> = (0..5).map(|_| quiet.line(&metrics.process)).collect();
        assert_eq!(first, [Some(0), Some(0), None, None, None]);
        assert_eq!(metrics.process.suppressed.get(&("noise".into(),)), 3);

        tokio::time::advance(MINUTE).await;
        assert_eq!(quiet.line(&metrics.process), Some(3), "it says how many were left out");
        assert_eq!(quiet.line(&metrics.process), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_on_is_written_once_in_each_period() {
        let (metrics, quiet) = (Metrics::new(), Quiet::every("noise", MINUTE / 6));
        let mut written = 0;
        for _ in 0..60 {
            written += u32::from(quiet.line(&metrics.process).is_some());
            tokio::time::advance(MINUTE / 60).await;
        }
        assert_eq!(written, 6);
    }
}
