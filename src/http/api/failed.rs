//! The answer to a request whose turn was started and then failed: a problem that still says where the turn is.

use std::time::Duration;

use poem::Response;
use poem::http::StatusCode;
use poem::http::header::{CONTENT_TYPE, RETRY_AFTER};

use super::asked::{Asked, about, internal};
use crate::chat::{ChatError, Started};
use crate::http::problem::Problem;
use crate::words::{Failure, Turn};

/// What a failed turn's request is told: the first failed reply's error, in the order of the replies.
pub fn failure_of(turn: &Turn) -> Failure {
    let first = turn.replies.iter().find_map(|reply| reply.error.clone());
    first.or_else(|| turn.error.clone()).unwrap_or_else(internal)
}

/// The answer about a turn that failed.
pub fn failed(asked: &Asked, started: Started, failure: Failure) -> poem::Error {
    respond(asked, started, &about(failure, started.turn))
}

/// The answer about a turn that runs, but can no longer be read here.
pub fn lost(asked: &Asked, started: Started, error: ChatError) -> poem::Error {
    let problem = asked.refused(error);
    respond(asked, started, &Problem { turn: Some(started.turn), ..problem })
}

/// Made here and not by the edge, because the headers of a started turn belong to it too.
fn respond(asked: &Asked, started: Started, problem: &Problem) -> poem::Error {
    let code = problem.failure.code;
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/problem+json")
        .header("Problem-Code", code.as_str())
        .header("Location", asked.location(started.turn))
        .header("Turn-Id", started.turn.to_string());
    if started.replayed {
        response = response.header("Idempotent-Replayed", "true");
    }
    if let Some(wait) = problem.failure.retry_after {
        response = response.header(RETRY_AFTER, whole_seconds(wait).to_string());
    }
    let body = problem.to_json(&asked.identity.request_id, true).to_string();
    poem::Error::from_response(response.body(body))
}

/// Rounded up: a client that waits so long has waited long enough.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}
