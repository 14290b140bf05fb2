//! How long models worked for a turn, so that the rest can be called ours.

use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;
use tokio::time::Instant;

/// Adds up the time in which at least one model call of a turn was under way. Calls that run at the same time count
/// once: a turn's overhead is its duration without this sum.
#[derive(Debug, Default)]
pub struct ModelClock(Mutex<Busy>);

#[derive(Debug, Default)]
struct Busy {
    calls: usize,
    since: Option<Instant>,
    total: Duration,
}

impl ModelClock {
    /// A model works from now until the guard is dropped.
    pub fn start(&self) -> Working<'_> {
        let mut busy = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        busy.calls += 1;
        busy.since.get_or_insert_with(Instant::now);
        Working(self)
    }

    /// Waits for a model, which works that long. What is there at once was not waited for.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        if let Poll::Ready(done) = poll!(work.as_mut()) {
            return done;
        }
        let _working = self.start();
        work.await
    }

    /// The time so far.
    pub fn total(&self) -> Duration {
        let busy = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        busy.total + busy.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// A model call that is under way.
#[derive(Debug)]
pub struct Working<'a>(&'a ModelClock);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        let mut busy = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        busy.calls -= 1;
        if busy.calls == 0 {
            let worked = busy.since.take().map_or(Duration::ZERO, |since| since.elapsed());
            busy.total += worked;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_at_the_same_time_count_once() {
        let clock = ModelClock::default();
        let first = clock.start();
        tokio::time::advance(Duration::from_secs(1)).await;
        let second = clock.start();
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(first);
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(second);
        tokio::time::advance(Duration::from_secs(5)).await;
        drop(clock.start());
        assert_eq!(clock.total(), Duration::from_secs(3));
    }
}
