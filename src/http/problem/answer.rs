//! A problem as an HTTP answer.

use std::time::Duration;

use poem::Response;
use poem::http::{HeaderMap, HeaderName, HeaderValue, header};
use rand::Rng as _;
use tracing::{error, warn};

use super::Problem;
use crate::http::limit_headers::seconds_up;
use crate::telemetry::Chain;
use crate::words::{ErrorCode, RequestId};

/// The media type of RFC 9457.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// The code, for those who read headers only.
pub const PROBLEM_CODE: HeaderName = HeaderName::from_static("problem-code");
/// When to try again where nobody knows better.
const SOON: Duration = Duration::from_secs(1);

impl Problem {
    /// The answer to the request `request_id`. A fault of ours is logged here, once, with its causes.
    pub fn into_response(mut self, request_id: &RequestId) -> Response {
        self.log();
        self.say_when();
        let code = self.failure.code;
        let mut response = Response::builder()
            .status(self.status())
            .content_type(PROBLEM_JSON)
            .header(PROBLEM_CODE, code.as_str())
            .header(header::CACHE_CONTROL, "no-store")
            .body(self.to_json(request_id, true).to_string());
        let headers = response.headers_mut();
        if let Some(wait) = self.failure.retry_after {
            headers.insert(header::RETRY_AFTER, seconds_up(wait).into());
        }
        for (name, value) in invitation(code) {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }

    /// 429 and 503 always say when; of those turned away by a full house not all come back at the same moment.
    fn say_when(&mut self) {
        let wait = match (self.failure.code, self.status().as_u16()) {
            (ErrorCode::Overloaded, _) => {
                let wait = self.failure.retry_after.unwrap_or(SOON);
                Some(wait + wait.mul_f64(rand::rng().random_range(0.0..=2.0)))
            }
            (_, 429 | 503) => Some(self.failure.retry_after.unwrap_or(SOON)),
            _ => self.failure.retry_after,
        };
        self.failure.retry_after = wait;
    }

    fn log(&self) {
        let code = self.failure.code.as_str();
        match (&self.cause, self.failure.code) {
            // Said by whoever refuses, some times a minute: a line for each would take the time there is too little of.
            (_, ErrorCode::Overloaded) => {}
            (Some(cause), ErrorCode::Internal) => {
                error!(event = "request_failed", code, error = %Chain(cause.as_ref()), "a request failed");
            }
            (None, ErrorCode::Internal) => error!(event = "request_failed", code, "a request failed"),
            (Some(cause), _) if self.status().is_server_error() => {
                warn!(event = "request_failed", code, error = %Chain(cause.as_ref()), "a request failed");
            }
            _ => {}
        }
    }
}

/// Gives the answer the header fields that a handler sent beside its problem; they replace those of the same name.
pub(super) fn put_headers(response: &mut Response, more: Option<HeaderMap>) {
    let more = more.unwrap_or_default();
    for name in more.keys() {
        response.headers_mut().remove(name);
        for value in more.get_all(name) {
            response.headers_mut().append(name.clone(), value.clone());
        }
    }
}

/// What the caller should bring the next time.
fn invitation(code: ErrorCode) -> Vec<(HeaderName, &'static str)> {
    match code.status() {
        401 => vec![(header::WWW_AUTHENTICATE, "Bearer")],
        426 => vec![(header::UPGRADE, "websocket"), (header::CONNECTION, "Upgrade")],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Failure;

    fn answer(code: ErrorCode) -> Response {
        Problem::from(Failure::new(code, "A sentence.")).into_response(&RequestId::random())
    }

    #[test]
    fn every_429_and_503_says_when_to_come_back() {
        for &code in ErrorCode::ALL {
            let response = answer(code);
            let says_when = response.headers().contains_key(header::RETRY_AFTER);
            assert_eq!(says_when, matches!(code.status(), 429 | 503), "{code:?}");
        }
    }

    #[test]
    fn a_wait_is_rounded_up_to_whole_seconds() {
        let failure = Failure::new(ErrorCode::RateLimited, "").retry_after(Duration::from_millis(41_250));
        let response = Problem::from(failure).into_response(&RequestId::random());
        assert_eq!(response.header("retry-after"), Some("42"));
    }

    #[test]
    fn those_turned_away_by_a_full_house_come_back_spread_out() {
        let wait = || {
            let failure = Failure::new(ErrorCode::Overloaded, "").retry_after(Duration::from_secs(30));
            let response = Problem::from(failure).into_response(&RequestId::random());
            response.header("retry-after").unwrap().parse::<u64>().unwrap()
        };
        let waits: std::collections::BTreeSet<_> = (0..100).map(|_| wait()).collect();
        assert!(waits.len() > 10 && waits.iter().all(|wait| (30..=90).contains(wait)), "{waits:?}");
    }

    #[test]
    fn missing_authentication_and_a_missing_upgrade_say_what_to_bring() {
        assert_eq!(answer(ErrorCode::Unauthenticated).header("www-authenticate"), Some("Bearer"));
        assert_eq!(answer(ErrorCode::UpgradeRequired).header("upgrade"), Some("websocket"));
    }
}
