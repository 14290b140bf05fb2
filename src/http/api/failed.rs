//! The answer to a request whose turn was started and then failed: a problem that still says where the turn is.

use poem::http::HeaderMap;
use poem::http::header::{HeaderName, HeaderValue, LOCATION};

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
    about(failure, started.turn).with_headers(headers(asked, started))
}

/// The answer about a turn that runs, but can no longer be read here.
pub fn lost(asked: &Asked, started: Started, error: ChatError) -> poem::Error {
    let problem = Problem { turn: Some(started.turn), ..error.into() };
    problem.with_headers(headers(asked, started))
}

/// What every answer to a request that started a turn says.
fn headers(asked: &Asked, started: Started) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut say = |name, value: String| {
        // A configured address and an id are made of visible characters.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    say(LOCATION, asked.location(started.turn));
    say(HeaderName::from_static("turn-id"), started.turn.to_string());
    if started.replayed {
        say(HeaderName::from_static("idempotent-replayed"), "true".to_owned());
    }
    headers
}
