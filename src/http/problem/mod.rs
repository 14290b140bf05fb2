//! Errors as RFC 9457 problems: the one form every error of the HTTP edge takes.

mod answer;
mod catalogue;
mod stray;

use std::error::Error as StdError;
use std::sync::Arc;

use poem::http::{HeaderMap, StatusCode};
use serde::Serialize;

pub use answer::{PROBLEM_CODE, PROBLEM_JSON};
pub use catalogue::description;

use crate::chat::ChatError;
use crate::words::{Failure, RequestId, TurnId};

/// One fault of a request: where, and what it should be. `detail` never echoes what was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// A JSON pointer as a URI fragment (`#/message`), for a fault in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The name of a path or query parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// The name of a header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// What it must be.
    pub detail: String,
}

impl Fault {
    /// A fault in the body at `pointer`, such as `#/message`.
    pub fn body(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: Some(pointer.into()), parameter: None, header: None, detail: detail.into() }
    }

    /// A fault in the path or query parameter `name`.
    pub fn parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: None, parameter: Some(name.into()), header: None, detail: detail.into() }
    }

    /// A fault in the header `name`.
    pub fn header(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: None, parameter: None, header: Some(name.into()), detail: detail.into() }
    }
}

/// A problem, before the edge has added what only it knows (request id, instance).
#[derive(Clone, Debug)]
pub struct Problem {
    /// What happened.
    pub failure: Failure,
    /// Several faults at once.
    pub errors: Vec<Fault>,
    /// The turn it is about.
    pub turn: Option<TurnId>,
    /// The policies that refused.
    pub violated_policies: Vec<String>,
    /// Why, for the log only.
    pub cause: Option<Arc<dyn StdError + Send + Sync>>,
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self { failure, errors: Vec::new(), turn: None, violated_policies: Vec::new(), cause: None }
    }
}

impl From<ChatError> for Problem {
    fn from(error: ChatError) -> Self {
        let known = Self::from(error.failure());
        Self { errors: faults(&error), turn: error.turn(), cause: Some(Arc::new(error)), ..known }
    }
}

/// What the product finds wrong with a body that was read.
fn faults(error: &ChatError) -> Vec<Fault> {
    if let ChatError::UnknownPersonas(places) = error {
        let fault = |place| Fault::body(format!("#/personas/{place}"), "must be the id of a persona");
        return places.iter().map(fault).collect();
    }
    if let ChatError::TooManyPersonas(most) = error {
        return vec![Fault::body("#/personas", format!("must have at most {most} entries"))];
    }
    Vec::new()
}

impl Problem {
    /// The problem as JSON, in the order of the contract. A socket's `error` frame has `request_id` but no `instance`.
    pub fn to_json(&self, request_id: &RequestId, with_instance: bool) -> serde_json::Value {
        let mut value = serde_json::to_value(&self.failure).unwrap_or_default();
        if let Some(members) = value.as_object_mut() {
            if with_instance {
                members.insert("instance".into(), format!("urn:polylogue:request:{request_id}").into());
            }
            members.insert("request_id".into(), request_id.as_str().into());
            if !self.errors.is_empty() {
                members.insert("errors".into(), serde_json::to_value(&self.errors).unwrap_or_default());
            }
            if let Some(turn) = self.turn {
                members.insert("turn_id".into(), turn.to_string().into());
            }
            if !self.violated_policies.is_empty() {
                members.insert("violated-policies".into(), self.violated_policies.clone().into());
            }
        }
        value
    }
}

impl Problem {
    /// The problem as a handler's error, with header fields that its answer shall have.
    pub fn with_headers(self, headers: HeaderMap) -> poem::Error {
        let mut error = poem::Error::from(self);
        error.set_data(headers);
        error
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.failure.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// Handlers return `Result<_, Problem>`; the outermost layer of the edge finds the [`Problem`] that travels inside a
/// [`poem::Error`] again, and adds the request id and the error's [`HeaderMap`], if it brought one.
impl From<Problem> for poem::Error {
    fn from(problem: Problem) -> Self {
        let mut error = Self::from_status(problem.status());
        error.set_data(problem);
        error
    }
}
