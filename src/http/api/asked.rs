//! What every handler knows about a request, and how its parts are checked.

use std::str::FromStr;

use poem::{FromRequest, Request, RequestBody};

use super::accept::{Form, accepts};
use super::header::SentHeader;
use crate::chat::{Caller, ChatError, ChatRequest, IdempotencyKey};
use crate::http::accept::Wire;
use crate::http::body::{Checked, invalid, no_services};
use crate::http::problem::{Fault, Problem};
use crate::http::sse::Surroundings;
use crate::http::{Identity, Services, wire};
use crate::telemetry::metrics::Transport;
use crate::words::{ErrorCode, Failure, TurnId};

/// The header parameter `Idempotency-Key`.
pub type KeyHeader = SentHeader<wire::IdempotencyKey>;

/// A request to an operation that answers with JSON.
pub struct Asked {
    /// Who asks.
    pub identity: Identity,
    /// What answers.
    pub services: Services,
    /// The connection it came by.
    wire: Option<Wire>,
}

impl Asked {
    fn of(request: &Request, form: Form) -> Result<Self, Problem> {
        accepts(request.headers(), form)?;
        let identity = request.extensions().get::<Identity>().cloned().ok_or_else(no_services)?;
        let services = request.data::<Services>().cloned().ok_or_else(no_services)?;
        Ok(Self { identity, services, wire: request.data::<Wire>().cloned() })
    }

    /// The caller of an operation that starts nothing.
    pub fn caller(&self) -> Caller {
        self.identity.caller(Transport::Json, None)
    }

    /// The caller and the message of an operation that starts a turn, or all that is wrong with them.
    pub fn chat(
        &self,
        transport: Transport,
        key: KeyHeader,
        body: Checked<ChatRequest>,
    ) -> Result<(Caller, ChatRequest), Problem> {
        let mut checks = Checks::default();
        let sent = key.0.map(|sent| IdempotencyKey::try_from(sent.text.as_str()));
        let detail = |invalid: crate::words::Invalid| vec![Fault::header("Idempotency-Key", invalid.0)];
        let key = checks.keep(sent.transpose().map_err(detail));
        let request = checks.keep(body.0);
        match (key, request) {
            (Some(key), Some(request)) => Ok((self.identity.caller(transport, key), request)),
            _ => Err(checks.problem()),
        }
    }

    /// What a stream that answers it needs.
    pub fn surroundings(&self) -> Surroundings {
        Surroundings::from(&self.services).over(self.wire.clone())
    }

    /// Where a turn can be read.
    pub fn location(&self, turn: TurnId) -> String {
        let public = self.services.config.server.public_url.as_ref();
        format!("{}/api/v1/turns/{turn}", public.map_or("", |url| url.as_str()))
    }
}

impl<'a> FromRequest<'a> for Asked {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self::of(request, Form::Json)?)
    }
}

/// A request to an operation that answers with events.
pub struct AskedForEvents(pub Asked);

impl<'a> FromRequest<'a> for AskedForEvents {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self(Asked::of(request, Form::Events)?))
    }
}

/// Collects the faults of a request's parts, so that they are told together.
#[derive(Debug, Default)]
pub struct Checks(Vec<Fault>);

impl Checks {
    /// Keeps what is right, or the faults.
    pub fn keep<T>(&mut self, part: Result<T, Vec<Fault>>) -> Option<T> {
        part.map_err(|faults| self.0.extend(faults)).ok()
    }

    /// Adds a fault.
    pub fn fault(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// Whether there are faults.
    pub fn found(&self) -> bool {
        !self.0.is_empty()
    }

    /// The problem that tells all faults.
    pub fn problem(self) -> Problem {
        invalid(self.0)
    }
}

/// Parses an id of the path; one that cannot be an id is not known.
pub fn known<T: FromStr>(sent: &str, missing: ChatError) -> Result<T, Problem> {
    sent.parse().map_err(|_| missing.into())
}

/// A failure that is told with the turn it belongs to.
pub fn about(failure: Failure, turn: TurnId) -> Problem {
    Problem { turn: Some(turn), ..failure.into() }
}

/// Something went wrong here.
pub fn internal() -> Failure {
    Failure::new(ErrorCode::Internal, "The log of the server knows more.")
}
