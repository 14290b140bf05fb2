//! What `/problems/{code}` answers: the page behind each problem's `type`.

use serde_json::{Value, json};

use crate::words::ErrorCode;

/// What is behind the `type` of a problem; `None` for a code that does not exist.
pub fn description(code: &str) -> Option<Value> {
    let code = *ErrorCode::ALL.iter().find(|known| known.as_str() == code)?;
    Some(json!({
        "type": format!("/problems/{}", code.as_str()),
        "title": code.title(),
        "status": code.status(),
        "code": code.as_str(),
        "what_to_do": what_to_do(code),
    }))
}

fn what_to_do(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidRequest => "Correct what `errors` lists; the same request will fail again.",
        ErrorCode::UnknownPersona => "Ask for personas that GET /api/v1/personas lists.",
        ErrorCode::InvalidEventId => "Send the id of an event of this turn, exactly as it came.",
        ErrorCode::UnsupportedSubprotocol => "Offer the subprotocol polylogue.v1, or none.",
        ErrorCode::Unauthenticated => "Send valid credentials.",
        ErrorCode::Forbidden => "Ask the operator for permission.",
        ErrorCode::OriginNotAllowed => "Ask the operator to add the origin of the page.",
        ErrorCode::NotFound => "Compare the path with /openapi.json.",
        ErrorCode::ConversationNotFound => "Begin a new conversation; this one never was, or was forgotten.",
        ErrorCode::TurnNotFound => "Read the conversation; its messages outlive its turns.",
        ErrorCode::PersonaNotFound => "Take a persona that GET /api/v1/personas lists.",
        ErrorCode::MethodNotAllowed => "Use one of the methods in the header Allow.",
        ErrorCode::NotAcceptable => "Accept application/json, or text/event-stream where events are read.",
        ErrorCode::RequestTimeout => "Send the request again, faster.",
        ErrorCode::TurnInProgress => "Follow the turn in `turn_id`, cancel it, or send on_busy: interrupt.",
        ErrorCode::EventUnknown => "Read the turn itself; it has its replies.",
        ErrorCode::PayloadTooLarge => "Send less.",
        ErrorCode::UnsupportedMediaType => "Send JSON, with Content-Type: application/json.",
        ErrorCode::IdempotencyKeyReused => "Use a new key for a new request.",
        ErrorCode::UpgradeRequired => "Open a WebSocket.",
        ErrorCode::RateLimited => "Wait as long as Retry-After says.",
        ErrorCode::ConnectionLimitExceeded => "Close a socket, or wait as long as Retry-After says.",
        ErrorCode::Internal => "Try again; if it stays, report `request_id` to the operator.",
        ErrorCode::ModelFailed => "Try again; if it stays, report `request_id` to the operator.",
        ErrorCode::ModelUnavailable => "Try again after Retry-After.",
        ErrorCode::StateUnavailable => "Try again after Retry-After.",
        ErrorCode::Draining => "Connect again; another server answers.",
        ErrorCode::Overloaded => "Try again after Retry-After; another server may have room.",
        ErrorCode::ModelTimeout => "Try again.",
    }
}
