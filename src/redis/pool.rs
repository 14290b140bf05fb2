//! A few connections, each shared by many commands.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::redis::{Cmd, Value};

use super::call::Call;
use super::error::RedisError;
use super::health::Health;
use super::link::Link;
use super::target::Target;
use crate::config;
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::Metrics;

/// Connections that take turns.
pub(super) struct Pool {
    links: Vec<Link>,
    next: AtomicUsize,
}

impl Pool {
    pub(super) fn start(
        target: Target,
        settings: &config::Redis,
        health: &Health,
        metrics: &Arc<Metrics>,
        shutdown: &Shutdown,
    ) -> Self {
        let (target, limit) = (Arc::new(target), *settings.connect_timeout);
        let link = |_| Link::start(Arc::clone(&target), limit, health, metrics, shutdown);
        Self { links: (0..settings.pool_size.get()).map(link).collect(), next: AtomicUsize::new(0) }
    }

    /// Sends the call, and once more where that can do no harm and may help.
    pub(super) async fn send(&self, call: &Call) -> Result<Value, RedisError> {
        let first = self.send_once(&call.short()).await;
        match first {
            Err(error) if error.is_unknown_script() => self.send_once(&call.whole()).await,
            Err(error) if error.is_of_connection() && !call.is_once() => self.send_once(&call.whole()).await,
            answer => answer,
        }
    }

    /// What breaks one connection has often broken all, which only using them would tell; so the next call waits for a fresh
    /// one instead.
    async fn send_once(&self, command: &Cmd) -> Result<Value, RedisError> {
        let (answer, broke) = self.link().send(command).await;
        if broke {
            self.suspect();
        }
        answer
    }

    /// Calls go unanswered; all connections lead to the same Redis.
    pub(super) fn suspect(&self) {
        self.links.iter().for_each(Link::suspect);
    }

    /// How many connections are up, and of how many.
    pub(super) fn census(&self) -> (usize, usize) {
        (self.links.iter().filter(|link| link.is_up()).count(), self.links.len())
    }

    /// The next connection that is up, or just the next.
    fn link(&self) -> &Link {
        let (links, next) = (&self.links, self.next.fetch_add(1, Ordering::Relaxed));
        let nth = |offset: usize| &links[next.wrapping_add(offset) % links.len()];
        (0..links.len()).map(nth).find(|link| link.is_up()).unwrap_or_else(|| nth(0))
    }
}
