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

/// Why a turn is not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overload {
    /// Work waits too long for a processor.
    Delay,
    /// As many turns are under way as may be.
    Full,
}

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

    /// Why one more turn should not begin, if it should not; asked once for each. A turn that is only looked for, because its
    /// idempotency key may have begun it, needs no room.
    pub fn refuses(&self, is_looked_for: bool) -> Option<Overload> {
        // A server that is leaving says so instead.
        if self.shutdown.closing().is_cancelled() {
            return None;
        }
        if !is_looked_for && self.chat.is_full() {
            return Some(Overload::Full);
        }
        (!self.pressure.lets_in(self.chat.under_way())).then_some(Overload::Delay)
    }

    /// Counts a refusal, and says so now and then: a line for each would take the time that there is too little of.
    pub fn refused(&self, why: Overload) {
        self.metrics.turns.rejected.inc(&(TurnRefusal::Overloaded,));
        let Some(suppressed) = self.quiet.line(&self.metrics.process) else { return };
        let waited_ms = u64::try_from(self.pressure.waited().as_millis()).unwrap_or(u64::MAX);
        let turns = self.chat.under_way();
        match why {
            Overload::Delay => warn!(
                event = "overloaded",
                reason = "delay",
                turns,
                bound = self.pressure.bound(),
                waited_ms,
                suppressed,
                "work waits too long for a processor: no more turns are begun than end"
            ),
            Overload::Full => warn!(
                event = "overloaded",
                reason = "full",
                turns,
                waited_ms,
                suppressed,
                "as many turns are under way as may be: new ones are refused"
            ),
        }
    }
}
