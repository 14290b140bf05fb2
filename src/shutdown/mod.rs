//! How everything that runs learns that it should stop, and how the stop waits for it.

mod sequence;
mod signals;

use std::future::Future;

pub use sequence::{Closing, Sequence, Timing, end_part, phase};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// One process' way to its end. Four signals, in this order: *draining* (balancers should look elsewhere, everything
/// still works), *closing* (nothing new begins, sockets close, turns may finish), *overdue* (what still runs says its last
/// word and is heard to the end), *hard* (whatever is left ends now).
/// Before them somebody *asks* (a signal), and an operator in a hurry may ask a second time, which *abandons* the rest.
/// Everything spawned is tracked, so that the stop can wait for it. Clones share the same signals.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    asked: CancellationToken,
    abandoned: CancellationToken,
    draining: CancellationToken,
    closing: CancellationToken,
    overdue: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// Nobody has asked to stop yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Somebody wants the process to stop; [`Sequence`] then gives the four signals.
    pub fn asked(&self) -> &CancellationToken {
        &self.asked
    }

    /// Somebody asked twice: the process ends at once, without waiting for anything.
    pub fn abandoned(&self) -> &CancellationToken {
        &self.abandoned
    }

    /// Does the work, unless whoever waits for the end will wait no longer; then none.
    pub async fn unless_abandoned<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.abandoned().run_until_cancelled(work).await
    }

    /// Asks for the stop; asking again abandons it.
    pub fn ask(&self) {
        if self.asked.is_cancelled() {
            self.abandoned.cancel();
        }
        self.asked.cancel();
    }

    /// Readiness is withdrawn; everything still works.
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Nothing new begins; what runs may finish.
    pub fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// The time to finish is over: work ends as it stands, and says so to whoever waits for it.
    pub fn overdue(&self) -> &CancellationToken {
        &self.overdue
    }

    /// What still runs ends now.
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    /// Runs `task` where the stop waits for it.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        drop(self.tasks.spawn(task));
    }

    /// Makes the stop wait until the token is dropped: for tasks that a library spawned.
    pub fn hold(&self) -> TaskTrackerToken {
        self.tasks.token()
    }

    /// Waits until everything tracked has ended; only after [`Self::closing`] or [`Self::hard`] was given.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
