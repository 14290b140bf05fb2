//! A circuit breaker: when what it guards fails several times in a row, callers are told no at once for a while, then
//! exactly one of them may probe. *Closed* means traffic flows; *open* means it does not.
//!
//! The shape (one probe, as a permit that is given back however its holder ends) follows linkerd2-proxy's breakers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::config;
use crate::telemetry::metrics::{BreakerCall, BreakerState, Label as _, Metrics, Name};

/// What somebody is told to wait who comes while the probe is out: nobody knows when it ends, so soon, but not at once.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// A circuit. Clones are the same circuit.
#[derive(Clone)]
pub struct Breaker {
    shared: Arc<Shared>,
}

struct Shared {
    name: Name,
    settings: config::Breaker,
    metrics: Arc<Metrics>,
    circuit: Mutex<Circuit>,
}

/// What changes. A call carries the generation it was admitted in; after a transition its end changes nothing.
struct Circuit {
    state: State,
    generation: u64,
}

#[derive(Clone, Copy)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen { probing: bool },
}

/// The circuit is open, or its one probe is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the circuit is open")]
pub struct Rejected {
    /// When trying again may help.
    pub retry_after: Duration,
}

/// A circuit at one moment, for `/status`.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The breaker's name.
    pub name: String,
    /// Its state. It becomes half open by the first call after the wait, so an open one may be due already.
    pub state: BreakerState,
    /// Faults in a row.
    pub consecutive_failures: u32,
    /// When the next probe is due, while it is open.
    pub probe_in: Option<Duration>,
}

impl Breaker {
    /// A closed circuit. `name` becomes a label, so it is one of few.
    pub fn new(name: &str, settings: config::Breaker, metrics: Arc<Metrics>) -> Self {
        let circuit = Mutex::new(Circuit { state: State::Closed { failures: 0 }, generation: 0 });
        let shared = Shared { name: name.into(), settings, metrics, circuit };
        shared.show(BreakerState::Closed, 0);
        for outcome in BreakerCall::ALL {
            shared.metrics.breakers.calls.touch(&(shared.name.clone(), *outcome));
        }
        for state in BreakerState::ALL {
            shared.metrics.breakers.transitions.touch(&(shared.name.clone(), *state));
        }
        Self { shared: Arc::new(shared) }
    }

    /// Lets a call through, or says when to come back. When the wait of an open circuit is over, the first to ask gets
    /// the one probe; the others are rejected until it has ended.
    pub fn admit(&self) -> Result<Permit, Rejected> {
        let mut circuit = self.shared.circuit();
        let admitted = match circuit.state {
            State::Closed { .. } => Ok(()),
            State::HalfOpen { probing: false } => {
                circuit.state = State::HalfOpen { probing: true };
                Ok(())
            }
            State::HalfOpen { probing: true } => Err(PROBE_PAUSE),
            State::Open { until } => match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => {
                    self.shared.moved(&mut circuit, State::HalfOpen { probing: true });
                    Ok(())
                }
                wait => Err(wait),
            },
        };
        let generation = circuit.generation;
        drop(circuit);
        match admitted {
            Ok(()) => Ok(Permit { shared: self.shared.clone(), generation, used: false }),
            Err(retry_after) => {
                self.shared.count(BreakerCall::Rejected);
                Err(Rejected { retry_after })
            }
        }
    }

    /// How long a call would be told to wait now; `None` when it would be let through. Counts nothing, changes nothing.
    pub fn wait(&self) -> Option<Duration> {
        match self.shared.circuit().state {
            State::Closed { .. } | State::HalfOpen { probing: false } => None,
            State::HalfOpen { probing: true } => Some(PROBE_PAUSE),
            State::Open { until } => {
                Some(until.saturating_duration_since(Instant::now())).filter(|w| !w.is_zero())
            }
        }
    }

    /// Whether the circuit is not closed: open, or waiting for its probe.
    pub fn is_tripped(&self) -> bool {
        !matches!(self.shared.circuit().state, State::Closed { .. })
    }

    /// Closes the circuit before its wait is over, because something outside knows that it works again.
    pub fn close_early(&self) {
        let mut circuit = self.shared.circuit();
        match circuit.state {
            State::Closed { .. } => {}
            State::Open { .. } | State::HalfOpen { .. } => {
                self.shared.moved(&mut circuit, State::Closed { failures: 0 });
            }
        }
    }

    /// Opens the circuit although calls succeed, because something outside knows that it does not work.
    pub fn open_early(&self) {
        let mut circuit = self.shared.circuit();
        match circuit.state {
            State::Closed { .. } => {
                let until = Instant::now() + *self.shared.settings.recovery;
                self.shared.moved(&mut circuit, State::Open { until });
            }
            State::Open { .. } | State::HalfOpen { .. } => {}
        }
    }

    /// The circuit at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let threshold = self.shared.settings.failures.get();
        let state = self.shared.circuit().state;
        let (state, consecutive_failures, probe_in) = match state {
            State::Closed { failures } => (BreakerState::Closed, failures, None),
            State::HalfOpen { .. } => (BreakerState::HalfOpen, threshold, None),
            State::Open { until } => {
                let wait = until.saturating_duration_since(Instant::now());
                (BreakerState::Open, threshold, Some(wait))
            }
        };
        let name = self.shared.name.as_label().to_owned();
        Snapshot { name, state, consecutive_failures, probe_in }
    }
}

/// One admitted call. Say how it ended; dropping it says nothing about what is guarded, and gives a probe's place back.
#[must_use = "a call that is never said to have ended counts as ignored"]
pub struct Permit {
    shared: Arc<Shared>,
    generation: u64,
    used: bool,
}

impl Permit {
    /// The call worked: faults in a row start at zero again, a probe closes the circuit.
    pub fn success(mut self) {
        self.used = true;
        self.shared.count(BreakerCall::Success);
        let mut circuit = self.shared.circuit();
        if circuit.generation != self.generation {
            return;
        }
        match circuit.state {
            State::Closed { .. } => self.shared.failures(&mut circuit, 0),
            State::HalfOpen { .. } => self.shared.moved(&mut circuit, State::Closed { failures: 0 }),
            // An open circuit admits nobody, so no permit is of its generation.
            State::Open { .. } => {}
        }
    }

    /// The call failed by the fault of what is guarded: one more in a row, and a probe opens the circuit again.
    pub fn failure(mut self) {
        self.used = true;
        self.shared.count(BreakerCall::Failure);
        let mut circuit = self.shared.circuit();
        if circuit.generation != self.generation {
            return;
        }
        let settings = &self.shared.settings;
        let open = State::Open { until: Instant::now() + *settings.recovery };
        match circuit.state {
            State::Closed { failures } if failures + 1 < settings.failures.get() => {
                self.shared.failures(&mut circuit, failures + 1);
            }
            State::Closed { .. } | State::HalfOpen { .. } => self.shared.moved(&mut circuit, open),
            State::Open { .. } => {}
        }
    }

    /// The call says nothing about what is guarded: it was cancelled, or refused for the caller's own fault.
    pub fn ignored(self) {
        drop(self);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.used {
            return;
        }
        self.shared.count(BreakerCall::Ignored);
        let mut circuit = self.shared.circuit();
        if circuit.generation == self.generation && matches!(circuit.state, State::HalfOpen { .. }) {
            circuit.state = State::HalfOpen { probing: false };
        }
    }
}

impl Shared {
    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, outcome: BreakerCall) {
        self.metrics.breakers.calls.inc(&(self.name.clone(), outcome));
    }

    fn failures(&self, circuit: &mut Circuit, failures: u32) {
        circuit.state = State::Closed { failures };
        self.metrics.breakers.consecutive_failures.set(&(self.name.clone(),), failures.into());
    }

    /// Everything that is a transition goes through here: a new generation, metrics, one log line. Called under the
    /// lock, so that metrics and lines come in the order of the transitions.
    fn moved(&self, circuit: &mut Circuit, to: State) {
        circuit.state = to;
        circuit.generation += 1;
        let (breaker, threshold) = (self.name.as_label(), self.settings.failures.get());
        let (state, failures) = match to {
            State::Closed { failures } => {
                info!(event = "breaker_closed", breaker, "a circuit closed: traffic flows again");
                (BreakerState::Closed, failures)
            }
            State::Open { .. } => {
                let recovery_ms = u64::try_from(self.settings.recovery.as_millis()).unwrap_or(u64::MAX);
                warn!(event = "breaker_opened", breaker, recovery_ms, "a circuit opened: calls are refused");
                (BreakerState::Open, threshold)
            }
            State::HalfOpen { .. } => {
                info!(event = "breaker_half_opened", breaker, "a circuit lets one call through to probe");
                (BreakerState::HalfOpen, threshold)
            }
        };
        self.show(state, failures);
        self.metrics.breakers.transitions.inc(&(self.name.clone(), state));
    }

    fn show(&self, now: BreakerState, failures: u32) {
        for state in BreakerState::ALL {
            self.metrics.breakers.state.set(&(self.name.clone(), *state), (*state == now).into());
        }
        self.metrics.breakers.consecutive_failures.set(&(self.name.clone(),), failures.into());
    }
}
