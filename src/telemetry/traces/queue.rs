//! Spans that wait to be sent: bounded, and nobody who gives one waits.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::dropped;
use super::span::Finished;
use crate::config::Tracing;

/// The spans between those who made them and the thread that sends them.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Wakes the one thread that takes.
    news: Notify,
    /// Wakes those who wait for everything to be gone.
    settled: Condvar,
    most: usize,
    batch: usize,
    delay: Duration,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Finished>,
    /// Taken, and neither sent nor given up yet.
    under_way: usize,
    /// Somebody waits for the queue to become empty.
    is_hurried: bool,
    is_closed: bool,
}

impl Queue {
    pub fn new(settings: &Tracing) -> Self {
        Self {
            state: Mutex::default(),
            news: Notify::new(),
            settled: Condvar::new(),
            most: settings.queue_size.get(),
            batch: settings.batch_size.get(),
            delay: *settings.batch_delay,
        }
    }

    /// Takes a span, or drops and counts it if too many wait.
    pub fn push(&self, span: Finished) {
        let mut state = self.lock();
        if state.is_closed || state.waiting.len() >= self.most {
            drop(state);
            return dropped(1);
        }
        state.waiting.push(span);
        let count = state.waiting.len();
        drop(state);
        if count == 1 || count == self.batch {
            self.news.notify_one();
        }
    }

    /// The next batch, as soon as it is whole or its first span has waited long enough; none once the queue is closed.
    pub async fn next(&self) -> Option<Vec<Finished>> {
        loop {
            self.until(|state| !state.waiting.is_empty()).await;
            // A batch that is not full goes all the same.
            let _ = timeout(self.delay, self.until(|state| state.waiting.len() >= self.batch)).await;
            let mut state = self.lock();
            let count = state.waiting.len().min(self.batch);
            if count > 0 {
                state.under_way += count;
                return Some(state.waiting.drain(..count).collect());
            }
            state.is_hurried = false;
            if state.is_closed {
                return None;
            }
        }
    }

    /// So many that were taken are sent or given up.
    pub fn settle(&self, count: usize) {
        self.lock().under_way -= count;
        self.settled.notify_all();
    }

    /// Waits before the next attempt, unless somebody waits for the end; whether there is time for one.
    pub async fn pause(&self, wait: Duration) -> bool {
        timeout(wait, self.until(|_| false)).await.is_err()
    }

    /// Waits until everything given so far is sent or given up, for at most `limit`. Blocks.
    pub fn flush(&self, limit: Duration) {
        let mut state = self.lock();
        state.is_hurried = true;
        self.news.notify_one();
        let is_left = |state: &mut State| state.under_way > 0 || !state.waiting.is_empty();
        // What is left after that is lost with the process; it is counted, for whoever looks last.
        let waited = self.settled.wait_timeout_while(state, limit, is_left);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        dropped(state.under_way + state.waiting.len());
    }

    /// Takes nothing more; the thread ends when everything is gone.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.news.notify_one();
    }

    async fn until(&self, is_so: impl Fn(&State) -> bool) {
        let is_over = || {
            let state = self.lock();
            state.is_hurried || state.is_closed || is_so(&state)
        };
        while !is_over() {
            self.news.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
