//! One connection that comes back by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::redis::aio::{ConnectionLike as _, MultiplexedConnection};
use ::redis::cluster_async::ClusterConnection;
use ::redis::{Cmd, Value};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::error::RedisError;
use super::health::Health;
use super::target::Target;
use crate::resilience::jittered;
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::{LinkState, Metrics};

/// Pauses between attempts to connect: the first, and the longest. Short: an attempt that is refused costs nothing, and
/// the sooner Redis is back the less there is to catch up on.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A connection; clones share it, and carry their commands over it side by side.
#[derive(Clone)]
pub(super) enum Wire {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Wire {
    async fn send(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        let answer = match self {
            Self::Single(connection) => connection.req_packed_command(command).await,
            Self::Cluster(connection) => connection.req_packed_command(command).await,
        };
        // An error of the server comes as a value from a lone command.
        Ok(answer?.extract_error()?)
    }
}

#[derive(Clone)]
enum State {
    Connecting,
    Up(Wire, u64),
    /// The last attempt failed; callers need not wait for the next.
    Down(Arc<str>),
}

/// A connection that comes back by itself, as long as its keeper runs.
pub(super) struct Link {
    state: watch::Receiver<State>,
    broken: Arc<Broken>,
}

#[derive(Default)]
struct Broken {
    /// The newest connection that somebody found broken.
    number: AtomicU64,
    news: Notify,
}

impl Broken {
    fn has(&self, number: u64) -> bool {
        self.number.load(Ordering::Relaxed) >= number
    }
}

impl Link {
    /// Starts to connect.
    pub(super) fn start(
        target: Arc<Target>,
        limit: Duration,
        health: &Health,
        metrics: &Arc<Metrics>,
        shutdown: &Shutdown,
    ) -> Self {
        let (tell, state) = watch::channel(State::Connecting);
        let broken = Arc::new(Broken::default());
        let keeper = Keeper {
            target,
            limit,
            tell,
            broken: Arc::clone(&broken),
            health: health.clone(),
            metrics: Arc::clone(metrics),
        };
        let closing = shutdown.closing().clone();
        shutdown.spawn(async move {
            tokio::select! {
                () = closing.cancelled() => {}
                never = keeper.keep() => match never {},
            }
        });
        Self { state, broken }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(&*self.state.borrow(), State::Up(_, number) if !self.broken.has(*number))
    }

    /// Sends a command; waits only for a connection that is being made for the first time, or again right now. Tells also
    /// whether this found the connection broken, as the first to do so.
    pub(super) async fn send(&self, command: &Cmd) -> (Result<Value, RedisError>, bool) {
        let (mut wire, number) = match self.wire().await {
            Ok(wire) => wire,
            Err(error) => return (Err(error), false),
        };
        let result = wire.send(command).await;
        let breaks = result.as_ref().is_err_and(RedisError::is_of_connection);
        (result, breaks && matches!(wire, Wire::Single(_)) && self.breaks(number))
    }

    /// Nobody answers: another connection may do better. A Cluster's connections look after themselves.
    pub(super) fn suspect(&self) {
        let single = match &*self.state.borrow() {
            State::Up(Wire::Single(_), number) => Some(*number),
            State::Up(Wire::Cluster(_), _) | State::Connecting | State::Down(_) => None,
        };
        if let Some(number) = single {
            let _ = self.breaks(number);
        }
    }

    /// Somebody found it broken; whether he is the first.
    fn breaks(&self, number: u64) -> bool {
        let known = self.broken.number.fetch_max(number, Ordering::Relaxed);
        self.broken.news.notify_one();
        known < number
    }

    async fn wire(&self) -> Result<(Wire, u64), RedisError> {
        let mut state = self.state.clone();
        let is_known = |state: &State| match state {
            State::Connecting => false,
            // Its keeper is about to make another.
            State::Up(_, number) => !self.broken.has(*number),
            State::Down(_) => true,
        };
        let known = state.wait_for(is_known).await;
        match known.as_deref() {
            Ok(State::Up(wire, number)) => Ok((wire.clone(), *number)),
            Ok(State::Down(reason)) => Err(unreachable(reason)),
            Ok(State::Connecting) | Err(_) => Err(unreachable("redis is left")),
        }
    }
}

fn unreachable(reason: &str) -> RedisError {
    RedisError::Fault(std::io::Error::new(std::io::ErrorKind::NotConnected, reason.to_owned()).into())
}

/// Keeps one link up.
struct Keeper {
    target: Arc<Target>,
    limit: Duration,
    tell: watch::Sender<State>,
    broken: Arc<Broken>,
    health: Health,
    metrics: Arc<Metrics>,
}

impl Keeper {
    async fn keep(self) -> std::convert::Infallible {
        let (mut number, mut pause) = (0, FIRST_PAUSE);
        self.metrics.redis.pool.add(&(LinkState::Down,), 1);
        loop {
            let connected = timeout(self.limit, self.target.connect()).await;
            match connected {
                Ok(Ok(wire)) => {
                    number += 1;
                    pause = FIRST_PAUSE;
                    if number > 1 {
                        self.health.is_doubted();
                    }
                    self.up(State::Up(wire, number), 1);
                    if number > 1 {
                        self.health.returned();
                    }
                    self.until_broken(number).await;
                    self.up(State::Connecting, -1);
                }
                Ok(Err(error)) => self.down(&error.to_string()),
                Err(_) => self.down("connecting took too long"),
            }
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn up(&self, state: State, change: i64) {
        self.metrics.redis.pool.add(&(LinkState::Up,), change);
        self.metrics.redis.pool.add(&(LinkState::Down,), -change);
        self.tell.send_replace(state);
    }

    fn down(&self, reason: &str) {
        tracing::debug!(reason, "no connection to redis");
        self.tell.send_replace(State::Down(reason.into()));
    }

    async fn until_broken(&self, number: u64) {
        while !self.broken.has(number) {
            self.broken.news.notified().await;
        }
    }
}
