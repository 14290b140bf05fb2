//! What the manager tells one socket.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

/// What a socket is told; a later one outweighs an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    /// Nothing yet.
    GoOn,
    /// The replica is stopping: say so, and close before long.
    Drain,
    /// The replica has no more time: close now.
    Stop,
    /// The caller may not have it any more, or an operator wants it gone.
    Dismissed,
    /// A newer socket of the same caller took the place.
    Replaced,
    /// The manager took it for dead.
    Removed,
}

impl Order {
    fn from_level(level: u8) -> Self {
        match level {
            0 => Self::GoOn,
            1 => Self::Drain,
            2 => Self::Stop,
            3 => Self::Dismissed,
            4 => Self::Replaced,
            _ => Self::Removed,
        }
    }
}

/// The line between the manager and one socket. A few words instead of a channel, because there are thousands, and
/// instead of a shared token, because each socket looks at it for every event it sends.
#[derive(Debug)]
pub(super) struct Line {
    order: AtomicU8,
    waker: AtomicWaker,
    alive: Mutex<Instant>,
}

impl Line {
    pub fn new() -> Self {
        Self {
            order: AtomicU8::new(Order::GoOn as u8),
            waker: AtomicWaker::new(),
            alive: Mutex::new(Instant::now()),
        }
    }

    /// Gives an order; a weightier one that was given before stands.
    pub fn give(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::AcqRel);
        self.waker.wake();
    }

    /// Waits for an order above `known`. Cancel-safe; only the socket's own task may wait.
    pub async fn above(&self, known: Order) -> Order {
        poll_fn(|context| {
            self.waker.register(context.waker());
            let order = Order::from_level(self.order.load(Ordering::Acquire));
            if order > known { Poll::Ready(order) } else { Poll::Pending }
        })
        .await
    }

    /// The socket's task runs.
    pub fn alive(&self) {
        *self.alive.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// When the socket's task last said that it runs.
    pub fn last_alive(&self) -> Instant {
        *self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
