//! Whether this replica is started, ready, alive. It never looks at a dependency.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// After how long without a sign of the accept loop the process counts as stuck.
const STALL: Duration = Duration::from_secs(10);

/// Whether this replica is started, ready, alive.
#[derive(Debug)]
pub struct Health {
    born: Instant,
    started: AtomicBool,
    draining: AtomicBool,
    /// When the accept loop last ran, in milliseconds after `born`.
    last_beat: AtomicU64,
}

/// What readiness is made of; nothing of it is a dependency's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Not everything has been built yet.
    Starting,
    /// Takes traffic.
    Ready,
    /// Is stopping.
    Draining,
}

impl Readiness {
    /// The word that probes answer.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ok",
            Self::Draining => "draining",
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            born: Instant::now(),
            started: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            last_beat: AtomicU64::new(0),
        }
    }
}

impl Health {
    /// Not started, not draining; alive for now.
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything is built and listening.
    pub fn started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// The stop has begun.
    pub fn draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The accept loop has just run.
    pub fn beat(&self) {
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_beat.store(now, Ordering::Relaxed);
    }

    /// Whether everything has been built, once.
    pub fn is_started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    /// Whether the accept loop has run within the last 10 s. A replica that stops accepts nothing any more; while it
    /// still answers, it lives.
    pub fn is_alive(&self) -> bool {
        let beat = Duration::from_millis(self.last_beat.load(Ordering::Relaxed));
        self.readiness() == Readiness::Draining || self.born.elapsed().saturating_sub(beat) < STALL
    }

    /// Whether to send traffic here.
    pub fn readiness(&self) -> Readiness {
        if self.draining.load(Ordering::Relaxed) {
            Readiness::Draining
        } else if self.is_started() {
            Readiness::Ready
        } else {
            Readiness::Starting
        }
    }

    /// How long ago the process was born.
    pub fn uptime(&self) -> Duration {
        self.born.elapsed()
    }
}
