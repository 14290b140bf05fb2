//! The management port: probes, metrics, the state of things for people, and what the log says.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use poem::http::{HeaderValue, Method, header};
use poem::{Endpoint, Request, Response};
use serde_json::{Value, json};

use super::gate::Gate;
use super::probes::{Probes, REVISION, VERSION};
use super::problem::Problem;
use super::roster::{self, Roster};
use super::{Health, Readiness, log_level, security};
use crate::telemetry::metrics::Metrics;
use crate::words::RequestId;

/// The media type of Prometheus' text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

type Source = Box<dyn Fn() -> Value + Send + Sync>;

/// What `/status` shows beside what the edge knows itself: whoever has something to say registers a source.
#[derive(Default)]
pub struct StatusBoard {
    sources: Mutex<BTreeMap<&'static str, Source>>,
}

impl StatusBoard {
    /// Nobody has anything to say yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows what `source` returns as member `name`, asked anew each time. It must not block.
    pub fn register(&self, name: &'static str, source: impl Fn() -> Value + Send + Sync + 'static) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).insert(name, Box::new(source));
    }

    fn entries(&self) -> Vec<(&'static str, Value)> {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.iter().map(|(name, source)| (*name, source())).collect()
    }
}

impl fmt::Debug for StatusBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StatusBoard")
    }
}

/// Everything of the management port.
#[derive(Debug)]
pub struct Management {
    probes: Probes,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    board: Arc<StatusBoard>,
    gate: Gate,
    roster: Option<Roster>,
}

impl Management {
    /// Shows what these say, and to whom `gate` lets in more than probes and metrics.
    pub fn new(health: Arc<Health>, metrics: Arc<Metrics>, board: Arc<StatusBoard>, gate: Gate) -> Self {
        Self { probes: Probes::management(health.clone()), health, metrics, board, gate, roster: None }
    }

    /// Shows and ends sockets, too.
    #[must_use]
    pub fn with_sockets(mut self, roster: Roster) -> Self {
        self.roster = Some(roster);
        self
    }

    fn metrics(&self) -> Response {
        let readiness = self.health.readiness();
        self.metrics.process.ready.set(&(), i64::from(readiness == Readiness::Ready));
        self.metrics.process.draining.set(&(), i64::from(readiness == Readiness::Draining));
        whole(PROMETHEUS, self.metrics.render())
    }

    fn status(&self) -> Response {
        let mut status = json!({
            "version": VERSION,
            "revision": REVISION,
            "uptime_s": self.health.uptime().as_secs(),
            "readiness": self.health.readiness().as_str(),
            "alive": self.health.is_alive(),
            "redis": "none",
            "connections": {
                "tcp": self.metrics.connections.open.get(&()),
                "websocket": self.metrics.websocket.open.get(&()),
                "sse": self.metrics.sse.open.get(&()),
            },
            "turns_in_flight": self.metrics.turns.in_flight.get(&()),
        });
        if let Some(members) = status.as_object_mut() {
            members.extend(self.board.entries().into_iter().map(|(name, value)| (name.to_owned(), value)));
        }
        whole("application/json", status.to_string())
    }
}

impl Endpoint for Management {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        if let Some(answer) = self.probes.answer(&request) {
            return Ok(security::dress(answer));
        }
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        Ok(security::dress(match request.uri().path() {
            "/metrics" if is_read => self.metrics(),
            "/metrics" | "/livez" | "/readyz" | "/startupz" | "/version" => wrong_method(),
            _ => self.guarded(request, is_read).await,
        }))
    }
}

impl Management {
    /// Whoever is not let in does not learn what there is either.
    async fn guarded(&self, request: Request, is_read: bool) -> Response {
        if let Err(problem) = self.gate.pass(&request) {
            return problem.into_response(&RequestId::random());
        }
        match (request.uri().path(), &self.roster) {
            ("/status", _) if is_read => self.status(),
            ("/status", _) => wrong_method(),
            (roster::PATH, Some(roster)) => roster.answer(&request).await,
            (log_level::PATH, _) => log_level::answer(request).await,
            _ => Problem::answer_to(poem::error::NotFoundError.into(), &RequestId::random(), &[]),
        }
    }
}

fn wrong_method() -> Response {
    let mut response =
        Problem::answer_to(poem::error::MethodNotAllowedError.into(), &RequestId::random(), &[]);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

fn whole(content_type: &str, body: String) -> Response {
    Response::builder().content_type(content_type).header(header::CACHE_CONTROL, "no-store").body(body)
}
