//! Errors in OpenAI's shape.

use http::StatusCode;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use poem::{IntoResponse, Response};
use serde_json::json;

use super::controls::Begun;
use super::settings::Fault;

/// An answer with an error status.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    message: String,
    retry_after_s: Option<u32>,
}

impl Refusal {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, code: None, message: message.into(), retry_after_s: None }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// What the settings say should go wrong before anything is answered.
    pub(super) fn by(begun: &Begun) -> Option<Self> {
        let told = "The simulator was told to fail.";
        let failed = || Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", told);
        match begun.rule.fault {
            Some(Fault::RateLimited { retry_after_s }) => Some(Self {
                code: Some("rate_limit_exceeded"),
                retry_after_s: Some(retry_after_s),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, "requests", told)
            }),
            Some(Fault::ServerError) => Some(failed()),
            Some(Fault::Unavailable { retry_after_s }) => Some(Self {
                retry_after_s: Some(retry_after_s),
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", told)
            }),
            Some(Fault::RefuseRequest) => {
                Some(Self { code: Some("context_length_exceeded"), ..Self::invalid(told) })
            }
            Some(Fault::RefuseAuth) => Some(Self {
                code: Some("invalid_api_key"),
                ..Self::new(StatusCode::UNAUTHORIZED, "invalid_request_error", told)
            }),
            Some(
                Fault::Stall
                | Fault::StallMidway { .. }
                | Fault::CutStream { .. }
                | Fault::ErrorInStream { .. }
                | Fault::NoFinishReason
                | Fault::Garbage,
            )
            | None => begun.fails.then(failed),
        }
    }
}

/// Gives every stray error of the framework the same shape.
pub(super) fn refuse(error: poem::Error) -> Response {
    if error.is_from_response() {
        return error.into_response();
    }
    let status = error.status();
    let message = match status {
        StatusCode::NOT_FOUND => "there is nothing at this path",
        StatusCode::METHOD_NOT_ALLOWED => "this path does not take this method",
        _ => "the request is not valid",
    };
    Refusal::new(status, "invalid_request_error", message).into_response()
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = json!({"error": {
            "message": self.message, "type": self.kind, "param": null, "code": self.code,
        }});
        let response = Response::builder().status(self.status).header(CONTENT_TYPE, "application/json");
        let response = match self.retry_after_s {
            Some(seconds) => response.header(RETRY_AFTER, seconds.to_string()),
            None => response,
        };
        response.body(error.to_string())
    }
}

impl From<Refusal> for poem::Error {
    fn from(refusal: Refusal) -> Self {
        Self::from_response(refusal.into_response())
    }
}
