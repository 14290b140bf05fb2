//! New turns are refused at the door while there is too much to do: it has to cost next to nothing, or refusing would take the
//! time that the turns that run need.

use std::sync::Arc;
use std::time::Duration;

use poem::http::{HeaderName, Method, StatusCode};
use poem::{Request, Response};
use tokio::time::timeout;

use super::intake::discarded;
use super::routes::Route;
use super::{has_body_to_come, last_of_its_connection, request_id, tell_request_id};
use crate::chat::ChatError;
use crate::http::problem::Problem;
use crate::http::{Admission, Services};
use crate::telemetry::metrics::Metrics;
use crate::words::Failure;

/// What begins a turn.
const BEGIN: [&str; 3] = ["/api/v1/chat", "/api/v1/chat/stream", "/api/v1/turns"];
/// How much of a body is read, and for how long, so that the connection can stay: a new one costs more than that.
const MOST_READ: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_millis(100);
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Who refuses.
pub(super) struct Shed {
    admission: Arc<Admission>,
    metrics: Arc<Metrics>,
}

impl Shed {
    pub(super) fn new(services: &Services) -> Self {
        Self { admission: Arc::clone(&services.admission), metrics: Arc::clone(&services.metrics) }
    }

    /// The answer to a request that would begin a turn now; the request again if it may go on. Whoever asks is not known yet:
    /// to find out costs more than the answer.
    pub(super) async fn refusal(&self, request: Request, route: Option<&Route>) -> Result<Response, Request> {
        let begins =
            |route: &&Route| request.method() == Method::POST && BEGIN.contains(&route.pattern.as_str());
        let Some(route) = route.filter(begins) else { return Err(request) };
        let is_looked_for = request.headers().contains_key(IDEMPOTENCY_KEY);
        if !self.admission.turns_away(is_looked_for) {
            return Err(request);
        }
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let counted_as = (request.method().into(), route.label.clone(), status.as_str().into());
        self.metrics.http.requests.inc(&counted_as);
        let id = request_id(request.headers());
        let is_read = !has_body_to_come(&request) || is_read(request).await;
        let mut response = busy().into_response(&id);
        tell_request_id(&mut response, &id);
        Ok(if is_read { response } else { last_of_its_connection(response) })
    }
}

/// What is said where more turns would only wait.
pub fn busy() -> Problem {
    let detail = "This server has more to do than it can; another may have time.".to_owned();
    Problem::from(Failure { detail, ..ChatError::Overloaded.failure() })
}

async fn is_read(mut request: Request) -> bool {
    timeout(PATIENCE, discarded(request.take_body().into(), MOST_READ)).await.unwrap_or_default()
}
