//! `/log-level` of the management port: which log lines are written, seen and changed while the process runs.

use std::time::Duration;

use poem::http::{HeaderValue, Method, header};
use poem::{Request, Response};
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use super::problem::Problem;
use crate::telemetry::{FilterError, LogLevels};
use crate::words::{ErrorCode, Failure, RequestId};

/// Where it is.
pub(super) const PATH: &str = "/log-level";

/// More than the longest filter as JSON.
const MAX_BODY: usize = 8 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// What is put in force.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    filter: String,
}

/// GET shows the filter, PUT `{"filter": "info,polylogue=debug"}` puts another in force until the process ends. Whoever
/// may ask was asked before: this stands behind the gate of the management port.
pub(super) async fn answer(request: Request) -> Response {
    let Some(levels) = LogLevels::of_process() else { return problem(&FilterError::NoLog) };
    match *request.method() {
        Method::GET | Method::HEAD => shown(levels),
        Method::PUT => match wanted(request).await {
            Some(Wanted { filter }) => match levels.change(&filter) {
                Ok(()) => shown(levels),
                Err(error) => problem(&error),
            },
            None => invalid("The body must be {\"filter\": \"…\"}.".to_owned()),
        },
        _ => {
            let error = poem::error::MethodNotAllowedError.into();
            let mut response = Problem::answer_to(error, &RequestId::random(), &[]);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, PUT"));
            response
        }
    }
}

async fn wanted(mut request: Request) -> Option<Wanted> {
    let body = timeout(BODY_TIMEOUT, request.take_body().into_bytes_limit(MAX_BODY)).await.ok()?.ok()?;
    serde_json::from_slice(&body).ok()
}

fn shown(levels: &LogLevels) -> Response {
    let body = json!({ "filter": &*levels.text() }).to_string();
    Response::builder().content_type("application/json").header(header::CACHE_CONTROL, "no-store").body(body)
}

fn problem(error: &FilterError) -> Response {
    invalid(format!("The filter {error}."))
}

fn invalid(detail: String) -> Response {
    Problem::from(Failure::new(ErrorCode::InvalidRequest, detail)).into_response(&RequestId::random())
}
