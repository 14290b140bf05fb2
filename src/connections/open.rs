//! One open socket, as its own task drives it.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};
use tracing::info;

use super::Place;
use super::heartbeat::{Beat, Heartbeat};
use super::orders::Order;
use crate::telemetry::metrics::{Held, Label as _, SocketEnd};
use crate::words::{ConnectionId, Principal};

/// An open socket. Its task awaits [`Self::due`] beside everything else and does what it says; dropping it, or better
/// [`Self::close`], gives the place back at once.
pub struct Connection {
    place: Place,
    heartbeat: Heartbeat,
    timer: Pin<Box<Sleep>>,
    known: Order,
    /// While the replica is stopping: when this socket's turn to close comes.
    closes_at: Option<Instant>,
    opened: Instant,
    heard: u64,
    sent: u64,
    end: SocketEnd,
    _open: Held,
}

/// What a socket's task has to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Send a ping (a control frame).
    Ping,
    /// Tell the client that the replica is stopping, and when it should come back.
    Drain {
        /// How long the client should wait before it connects again.
        reconnect_after: Duration,
    },
    /// Close, for this reason.
    Close(SocketEnd),
}

impl Connection {
    pub(super) fn new(place: Place) -> Self {
        let now = Instant::now();
        let manager = place.connections();
        let heartbeat = manager.settings.heartbeat(now);
        let timer = Box::pin(sleep_until(heartbeat.deadline()));
        let open = manager.metrics.websocket.open.hold();
        manager.metrics.websocket.opened.inc(&());
        info!(
            event = "websocket_connected",
            connection_id = %place.id(),
            client = place.principal().log_name(),
            "socket opened"
        );
        Self {
            place,
            heartbeat,
            timer,
            known: Order::GoOn,
            closes_at: None,
            opened: now,
            heard: 0,
            sent: 0,
            // What it is if its task ends without saying why.
            end: SocketEnd::Internal,
            _open: open,
        }
    }

    /// The socket's id.
    pub fn id(&self) -> ConnectionId {
        self.place.id()
    }

    /// Whose socket it is.
    pub fn principal(&self) -> &Principal {
        self.place.principal()
    }

    /// Something came in, be it a control frame.
    pub fn heard(&mut self) {
        self.heard += 1;
        self.heartbeat.heard();
    }

    /// Something went out.
    pub fn sent(&mut self) {
        self.sent += 1;
    }

    /// An application frame went either way; control frames, `ping` and `pong` are none.
    pub fn active(&mut self) {
        self.heartbeat.active(Instant::now());
    }

    /// Waits for the next thing to do. A stopping replica closes its busy sockets (those with a turn under way) only
    /// when they are no longer busy, or when it has no more time. Cancel-safe.
    pub async fn due(&mut self, is_busy: bool) -> Due {
        loop {
            self.place.line().alive();
            if let Some(due) = self.due_now(is_busy) {
                return due;
            }
            self.set_timer(is_busy);
            tokio::select! {
                biased;
                order = self.place.line().above(self.known) => return self.told(order),
                () = self.timer.as_mut() => {}
            }
        }
    }

    fn due_now(&mut self, is_busy: bool) -> Option<Due> {
        let now = Instant::now();
        if !is_busy && self.closes_at.is_some_and(|at| now >= at) {
            return Some(Due::Close(SocketEnd::ServiceRestart));
        }
        Some(match self.heartbeat.beat(now)? {
            Beat::Ping => Due::Ping,
            Beat::Silent => {
                info!(event = "heartbeat_timeout", connection_id = %self.id(), "nothing came back after a ping");
                Due::Close(SocketEnd::HeartbeatTimeout)
            }
            Beat::Idle => {
                info!(event = "connection_ttl_expired", connection_id = %self.id(), "socket was idle for too long");
                Due::Close(SocketEnd::Idle)
            }
        })
    }

    /// Moves the timer only where it must be: one that is too early just makes us look once more.
    fn set_timer(&mut self, is_busy: bool) {
        let closing = self.closes_at.filter(|_| !is_busy);
        let beat = self.heartbeat.deadline();
        let deadline = closing.map_or(beat, |at| at.min(beat));
        if self.timer.is_elapsed() || self.timer.deadline() > deadline {
            self.timer.as_mut().reset(deadline);
        }
    }

    fn told(&mut self, order: Order) -> Due {
        self.known = order;
        match order {
            Order::GoOn | Order::Drain => self.drain(),
            Order::Stop => Due::Close(SocketEnd::ServiceRestart),
            Order::Dismissed => Due::Close(SocketEnd::AuthExpired),
            Order::Replaced => Due::Close(SocketEnd::Replaced),
            Order::Removed => Due::Close(SocketEnd::Internal),
        }
    }

    /// Two draws: when this socket closes, and how long its client then waits.
    fn drain(&mut self) -> Due {
        let settings = &self.place.connections().settings;
        let (closes_in, reconnect_after) = (settings.spread(), settings.spread());
        self.closes_at = Some(Instant::now() + closes_in);
        Due::Drain { reconnect_after }
    }

    /// Gives the place back at once, and says why.
    pub fn close(mut self, end: SocketEnd) {
        self.end = end;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let lived = self.opened.elapsed();
        let metrics = &self.place.connections().metrics.websocket;
        metrics.closed.inc(&(self.end,));
        metrics.duration.observe(&(), lived);
        info!(
            event = "websocket_disconnected",
            connection_id = %self.id(),
            client = self.principal().log_name(),
            reason = self.end.as_label(),
            duration_ms = u64::try_from(lived.as_millis()).unwrap_or(u64::MAX),
            frames_in = self.heard,
            frames_out = self.sent,
            "socket closed"
        );
    }
}
