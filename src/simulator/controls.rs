//! What can be changed and seen while the simulator runs, over HTTP and from Rust alike.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use super::dice::Dice;
use super::request::ChatRequest;
use super::settings::{Rule, Settings};
use crate::words::Invalid;

/// How many requests [`Stats::last`] shows.
const LAST: usize = 100;

/// A hold on a running simulator; clones hold the same one.
#[derive(Clone, Debug)]
pub struct Controls {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<(Settings, Stats)>,
    go_on: watch::Sender<()>,
}

/// What has happened so far.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stats {
    /// Requests for a completion.
    pub requests: u64,
    /// Those that are being answered.
    pub in_flight: u64,
    /// Those whose client left before the end.
    pub cancelled: u64,
    /// Those that were answered with an error status.
    pub refused: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Those that are open.
    pub connections_open: u64,
    /// The newest requests, oldest first, without their content.
    pub last: VecDeque<Seen>,
}

/// A request as the log may show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// The model asked for.
    pub model: String,
    /// How many messages it had.
    pub messages: usize,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Whether it asked for a JSON schema.
    pub json_schema: bool,
    /// Whether it had an `Authorization` header.
    pub authorized: bool,
    /// `X-Request-ID`.
    pub request_id: Option<String>,
    /// `traceparent`.
    pub traceparent: Option<String>,
}

impl Controls {
    pub(super) fn new(settings: Settings) -> Self {
        let state = Mutex::new((settings, Stats::default()));
        Self { shared: Arc::new(Shared { state, go_on: watch::Sender::new(()) }) }
    }

    /// How it answers now.
    pub fn settings(&self) -> Settings {
        self.state().0.clone()
    }

    /// Changes how it answers, from the next request on.
    pub fn change(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.state().0);
    }

    /// Takes these rules in place of the ones before.
    pub fn rules(&self, rules: impl IntoIterator<Item = Rule>) {
        self.change(|settings| settings.rules = rules.into_iter().collect());
    }

    /// Lets every paused answer go on, and those that have begun and would pause later.
    pub fn go_on(&self) {
        self.shared.go_on.send_replace(());
    }

    /// What has happened so far.
    pub fn stats(&self) -> Stats {
        self.state().1.clone()
    }

    /// Lays the members of a JSON object over the settings; a member that is absent stays as it is.
    pub(super) fn lay_over(&self, members: serde_json::Map<String, Value>) -> Result<Settings, String> {
        let mut state = self.state();
        let mut merged = serde_json::to_value(&state.0).map_err(|error| error.to_string())?;
        if let Value::Object(settings) = &mut merged {
            settings.extend(members);
        }
        let settings: Settings = serde_json::from_value(merged).map_err(|error| error.to_string())?;
        settings.check().map_err(|Invalid(reason)| reason.to_owned())?;
        state.0 = settings.clone();
        Ok(settings)
    }

    /// Takes a request in: the settings and the rule that are for it, whether it is one that fails, and what counts it.
    pub(super) fn begin(&self, request: &ChatRequest, seen: Seen) -> Begun {
        let mut state = self.state();
        let (settings, stats) = &mut *state;
        stats.requests += 1;
        stats.in_flight += 1;
        if stats.last.len() == LAST {
            stats.last.pop_front();
        }
        stats.last.push_back(seen);

        let number = stats.requests;
        let fails = Dice::new(settings.seed.wrapping_add(number), ["error"]).chance(settings.error_rate);
        let rule = settings.apply_rule(request.texts());
        let settings = Settings { rules: Vec::new(), ..*settings };
        // Before anybody can see that it is in flight: who then says go on means this one too.
        let go_on = self.shared.go_on.subscribe();
        drop(state);
        let in_flight = InFlight { controls: self.clone(), ended: false, refused: false };
        Begun { number, settings, rule, fails, in_flight, go_on }
    }

    /// Counts a connection until the guard is dropped.
    pub(super) fn connected(&self) -> Connected {
        let mut state = self.state();
        state.1.connections += 1;
        state.1.connections_open += 1;
        Connected(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, (Settings, Stats)> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that was taken in.
pub(super) struct Begun {
    pub(super) number: u64,
    pub(super) settings: Settings,
    pub(super) rule: Rule,
    pub(super) fails: bool,
    pub(super) in_flight: InFlight,
    pub(super) go_on: watch::Receiver<()>,
}

/// Counts a request as in flight while it lives, and as cancelled if it goes before its end.
pub(super) struct InFlight {
    controls: Controls,
    ended: bool,
    refused: bool,
}

impl InFlight {
    /// The last byte was handed over, or the connection is cut on purpose.
    pub(super) fn ended(&mut self) {
        self.ended = true;
    }

    /// It is answered with an error status.
    pub(super) fn refused(mut self) {
        self.ended = true;
        self.refused = true;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.controls.state();
        state.1.in_flight -= 1;
        state.1.cancelled += u64::from(!self.ended);
        state.1.refused += u64::from(self.refused);
    }
}

pub(super) struct Connected(Controls);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.state().1.connections_open -= 1;
    }
}
