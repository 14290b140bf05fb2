//! Why there is no upgrade, as a problem.

use std::time::Duration;

use poem::http::HeaderMap;
use poem::http::header::{HeaderName, HeaderValue};
use tracing::info;

use crate::connections::Refused;
use crate::http::problem::{Fault, Problem};
use crate::telemetry::metrics::{Label as _, Metrics, SocketRefusal};
use crate::words::{ErrorCode, Failure, Principal};

/// How long a client that met a full or stopping replica should wait; the next one it meets is probably another.
const COME_BACK: Duration = Duration::from_secs(1);

/// A problem, the headers that go with it, and what metrics call it if they count it.
#[derive(Debug)]
pub(super) struct Refusal {
    problem: Box<Problem>,
    headers: Vec<(HeaderName, HeaderValue)>,
    reason: Option<SocketRefusal>,
}

impl Refusal {
    pub fn new(failure: Failure, reason: Option<SocketRefusal>) -> Self {
        Self { problem: Box::new(failure.into()), headers: Vec::new(), reason }
    }

    pub fn not_an_upgrade() -> Self {
        let detail = "This path speaks WebSocket (version 13, over HTTP/1.1) only.";
        Self::new(Failure::new(ErrorCode::UpgradeRequired, detail), Some(SocketRefusal::NotAnUpgrade))
            .header(HeaderName::from_static("sec-websocket-version"), "13")
    }

    pub fn bad_key() -> Self {
        let fault = Fault::header("Sec-WebSocket-Key", "must be 16 bytes in base64");
        Self::faulty(fault, Some(SocketRefusal::NotAnUpgrade))
    }

    pub fn unsupported_subprotocol() -> Self {
        let detail = "This server speaks polylogue.v1.";
        Self::new(Failure::new(ErrorCode::UnsupportedSubprotocol, detail), Some(SocketRefusal::Subprotocol))
    }

    fn faulty(fault: Fault, reason: Option<SocketRefusal>) -> Self {
        let mut refusal =
            Self::new(Failure::new(ErrorCode::InvalidRequest, "The request is not a valid upgrade."), reason);
        refusal.problem.errors.push(fault);
        refusal
    }

    fn header(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        if let Ok(value) = value.try_into() {
            self.headers.push((name, value));
        }
        self
    }

    /// Counts and logs a refusal that the connection manager knows nothing of.
    pub fn record(&self, metrics: &Metrics, principal: &Principal) {
        let Some(reason) = self.reason else { return };
        metrics.websocket.rejected.inc(&(reason,));
        let (client, reason) = (principal.log_name(), reason.as_label());
        info!(event = "connection_rejected", client, reason, "upgrade refused");
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let reason = Some(refused.reason());
        match refused {
            Refused::PerClient { most, retry_after } => {
                let detail = format!("A caller may have {most} sockets.");
                let failure =
                    Failure::new(ErrorCode::ConnectionLimitExceeded, detail).retry_after(retry_after);
                let mut refusal = Self::new(failure, reason).header(
                    HeaderName::from_static("ratelimit-policy"),
                    format!(r#""sockets";q={most};qu="concurrent-requests""#),
                );
                refusal.problem.violated_policies.push("sockets".to_owned());
                refusal
            }
            Refused::Total => {
                let detail = "This server has all the sockets it can hold; another may have room.";
                Self::new(Failure::new(ErrorCode::Overloaded, detail).retry_after(COME_BACK), reason)
            }
            Refused::Draining => {
                let detail = "This server is stopping; another takes over.";
                Self::new(Failure::new(ErrorCode::Draining, detail).retry_after(COME_BACK), reason)
            }
        }
    }
}

/// The same for whoever refuses a place outside of the socket's handler.
pub fn refused(refused: Refused) -> (Problem, Vec<(HeaderName, HeaderValue)>) {
    let Refusal { problem, headers, .. } = refused.into();
    (*problem, headers)
}

/// The problem travels as every other; what it wants in the response's headers travels beside it.
impl From<Refusal> for poem::Error {
    fn from(refusal: Refusal) -> Self {
        let mut error = Self::from(*refusal.problem);
        error.set_data(refusal.headers.into_iter().collect::<HeaderMap>());
        error
    }
}
