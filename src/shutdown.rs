//! How everything that runs learns that it should stop, and how the stop waits for it.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// One process' way to its end. Three signals, in this order: *draining* (balancers should look elsewhere, everything
/// still works), *closing* (nothing new begins, sockets close, turns may finish), *hard* (what still runs ends now).
/// Everything spawned is tracked, so that the stop can wait for it. Clones share the same signals.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    draining: CancellationToken,
    closing: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// Nobody has asked to stop yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Readiness is withdrawn; everything still works.
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Nothing new begins; what runs may finish.
    pub fn closing(&self) -> &CancellationToken {
        &self.closing
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
