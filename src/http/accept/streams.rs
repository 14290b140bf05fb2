//! HTTP/2 requests: each a task of its own, and each cut by itself when its reader takes nothing.
//!
//! A reader that never opens its window is not seen on the socket, which stays writable; and the connection may belong
//! to a proxy that carries other people's requests, too. So every request has a clock: it runs while something was
//! handed over and not yet asked for more. A request that is cut is reset (RFC 9113 §6.4), its buffers are freed.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::shutdown::Shutdown;

tokio::task_local! {
    /// The request that the running task answers; not set on HTTP/1.
    static STREAM: Arc<Stream>;
}

/// What is known of one HTTP/2 request's reader.
#[derive(Debug, Default)]
pub(super) struct Stream {
    waiting: Mutex<Option<Instant>>,
    was_cut: AtomicBool,
}

impl Stream {
    /// The request of the running task; `None` on HTTP/1.
    pub(super) fn current() -> Option<Arc<Self>> {
        STREAM.try_with(Arc::clone).ok()
    }

    /// Something was handed over for the reader; or the reader took it, and more is wanted.
    pub(super) fn waits(&self, waits: bool) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = waits.then(Instant::now);
    }

    fn waiting(&self) -> Option<Instant> {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the reader took nothing for too long.
    pub(super) fn was_cut(&self) -> bool {
        self.was_cut.load(Ordering::Relaxed)
    }
}

/// Runs HTTP/2 requests where the stop waits for them.
#[derive(Clone)]
pub(super) struct Streams {
    pub(super) shutdown: Shutdown,
    pub(super) slow_reader_timeout: Duration,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        let stream = Arc::new(Stream::default());
        let watched = unless_too_slow(task, Arc::clone(&stream), self.slow_reader_timeout);
        self.shutdown.spawn(STREAM.scope(stream, watched));
    }
}

/// Drops `task` when its reader takes nothing for `limit`. There is a timer only while something waits for the reader.
async fn unless_too_slow(task: impl Future<Output = ()>, stream: Arc<Stream>, limit: Duration) {
    let mut task = pin!(task);
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        if task.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(since) = stream.waiting() else { return Poll::Pending };
        let end = since + limit;
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
        if timer.deadline() != end {
            timer.as_mut().reset(end);
        }
        ready!(timer.as_mut().poll(cx));
        stream.was_cut.store(true, Ordering::Relaxed);
        Poll::Ready(())
    })
    .await;
}
