//! Whether one more turn may begin on this replica, asked before anything else is done for it.

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, warn};

use crate::chat::Chat;
use crate::resilience::Pressure;
use crate::shutdown::Shutdown;
use crate::telemetry::Quiet;
use crate::telemetry::metrics::{Metrics, TurnRefusal};

/// How often refusals are said.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// Lets turns begin as long as there is room and time for them.
pub struct Admission {
    chat: Arc<Chat>,
    pressure: Arc<Pressure>,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    quiet: Quiet,
}

impl Admission {
    /// Asks these.
    pub fn new(chat: Arc<Chat>, pressure: Arc<Pressure>, metrics: Arc<Metrics>, shutdown: Shutdown) -> Self {
        Self { chat, pressure, metrics, shutdown, quiet: Quiet::every("overloaded", SAID_EVERY) }
    }

    /// Measures how long work waits, until nothing is begun any more.
    pub async fn watch(self: Arc<Self>) {
        let chat = Arc::clone(&self.chat);
        tokio::select! {
            error = self.pressure.watch(move || chat.under_way()) => {
                error!(event = "pressure_unknown", %error, "overload of the processors cannot be seen");
            }
            () = self.shutdown.closing().cancelled() => {}
        }
    }

    /// What is measured.
    pub fn pressure(&self) -> &Arc<Pressure> {
        &self.pressure
    }

    /// Whether one more turn may not begin; asked once for each, and counted where it may not. A turn that is only looked for,
    /// because its idempotency key may have begun it, needs no room: whether there is some is found out when it is not known.
    pub fn turns_away(&self, is_looked_for: bool) -> bool {
        // A server that is leaving says so instead.
        if self.shutdown.closing().is_cancelled() {
            return false;
        }
        let has_time = self.pressure.lets_in(self.chat.under_way());
        if has_time && !self.chat.is_full() {
            return false;
        }
        self.say(if has_time { "full" } else { "delay" });
        if has_time && is_looked_for {
            return false;
        }
        self.metrics.turns.rejected.inc(&(TurnRefusal::Overloaded,));
        true
    }

    /// Says so now and then: a line for each would take the time that there is too little of.
    fn say(&self, reason: &str) {
        let Some(suppressed) = self.quiet.line(&self.metrics.process) else { return };
        warn!(
            event = "overloaded",
            reason,
            turns = self.chat.under_way(),
            bound = self.pressure.bound(),
            waited_ms = u64::try_from(self.pressure.waited().as_millis()).unwrap_or(u64::MAX),
            suppressed,
            "new turns are refused"
        );
    }
}
