//! Which errors an operation may answer with.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{headers, operations};
use crate::words::ErrorCode;
use crate::words::ErrorCode::*;

/// Errors of every operation.
const ALWAYS: &[ErrorCode] = &[Unauthenticated, RateLimited, Internal, StateUnavailable];
/// Errors of an operation that looks at `Accept`.
const FORM: &[ErrorCode] = &[NotAcceptable];
/// Errors of a request with a body.
const BODY: &[ErrorCode] = &[InvalidRequest, RequestTimeout, PayloadTooLarge, UnsupportedMediaType];
/// Errors of a request that changes something, where a page sends it.
const PAGE: &[ErrorCode] = &[OriginNotAllowed];
/// Errors of a request that starts a turn, before there is one.
const START: &[ErrorCode] = &[
    UnknownPersona,
    Forbidden,
    TurnInProgress,
    IdempotencyKeyReused,
    StateUnavailable,
    Draining,
    Overloaded,
];
/// What a turn may end with.
const MODEL: &[ErrorCode] = &[ModelFailed, ModelUnavailable, ModelTimeout];

/// The errors of an operation beside [`ALWAYS`].
fn codes(operation: &str) -> &'static [&'static [ErrorCode]] {
    match operation {
        "createChat" => &[FORM, PAGE, BODY, START, MODEL],
        "streamChat" | "startTurn" => &[FORM, PAGE, BODY, START],
        "getTurn" => &[FORM, &[TurnNotFound, StateUnavailable]],
        "cancelTurn" => &[FORM, PAGE, &[TurnNotFound, StateUnavailable]],
        "streamTurnEvents" => &[FORM, &[InvalidEventId, TurnNotFound, EventUnknown, StateUnavailable]],
        "getConversation" => &[FORM, &[ConversationNotFound, StateUnavailable]],
        "deleteConversation" => &[FORM, PAGE, &[ConversationNotFound, StateUnavailable]],
        "listConversations" => &[FORM, &[InvalidRequest, StateUnavailable]],
        "listMessages" => &[FORM, &[InvalidRequest, ConversationNotFound, StateUnavailable]],
        "addMessage" => &[FORM, PAGE, BODY, &[ConversationNotFound, TurnInProgress, StateUnavailable]],
        "listPersonas" => &[FORM],
        "getPersona" => &[FORM, &[PersonaNotFound]],
        "createTicket" => &[PAGE, &[ConnectionLimitExceeded, Draining, Overloaded]],
        _ => &[],
    }
}

/// Whether the operation's errors may come after its turn was started; they say then where it is.
fn starts_a_turn(operation: &str) -> bool {
    matches!(operation, "createChat" | "streamChat" | "startTurn")
}

/// Adds the errors to every operation, by status.
pub(super) fn document(document: &mut Value) {
    operations(document, |id, operation| {
        let mut by_status: BTreeMap<u16, Vec<ErrorCode>> = BTreeMap::new();
        for code in ALWAYS.iter().chain(codes(id).iter().copied().flatten()) {
            let codes = by_status.entry(code.status()).or_default();
            if !codes.contains(code) {
                codes.push(*code);
            }
        }
        for (status, codes) in by_status {
            operation["responses"][status.to_string()] = response(id, status, &codes);
        }
    });
}

fn response(operation: &str, status: u16, codes: &[ErrorCode]) -> Value {
    let lines: Vec<String> =
        codes.iter().map(|code| format!("`{}`: {}.", code.as_str(), code.title())).collect();
    let known: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    let schema = json!({"type": "string", "x-extensible-enum": known});

    let mut answer = Map::new();
    answer.insert("Problem-Code".into(), json!({"description": "The problem's code.", "schema": schema}));
    if status == 401 {
        answer.insert("WWW-Authenticate".into(), headers::reference("WWW-Authenticate"));
    }
    if matches!(status, 429 | 503) {
        answer.insert("Retry-After".into(), headers::reference("Retry-After"));
    }
    if starts_a_turn(operation) && status >= 500 {
        for name in ["Location", "Turn-Id", "Idempotent-Replayed"] {
            answer.insert(name.into(), headers::reference(name));
        }
    }
    answer.extend(headers::everywhere());
    json!({
        "description": lines.join("\n\n"),
        "headers": answer,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    })
}
