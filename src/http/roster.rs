//! `/connections` of the management port: whose sockets are open, and ending all of somebody's.

use std::fmt;
use std::sync::Arc;

use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::{Request, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::problem::{Fault, Problem};
use crate::connections::{Connections, Seen};
use crate::words::{ErrorCode, Failure, Principal, ReplicaId, RequestId};

/// Where it is served.
pub const PATH: &str = "/connections";

/// Places that are shown at most: more than a principal may have, unless the setting says otherwise.
const MOST_SHOWN: usize = 100;

#[derive(Deserialize)]
struct Asked {
    principal: String,
}

/// What answers it.
pub struct Roster {
    connections: Arc<Connections>,
    replica: ReplicaId,
}

impl Roster {
    /// Shows and ends what `connections` of this replica, and of all others, have.
    pub fn new(connections: Arc<Connections>, replica: ReplicaId) -> Self {
        Self { connections, replica }
    }

    /// Answers GET, HEAD and DELETE.
    pub async fn answer(&self, request: &Request) -> Response {
        let answer = match *request.method() {
            Method::GET | Method::HEAD => self.list(request).await,
            Method::DELETE => self.end(request).await,
            _ => return wrong_method(),
        };
        answer.unwrap_or_else(|problem| problem.into_response(&RequestId::random()))
    }

    async fn list(&self, request: &Request) -> Result<Response, Problem> {
        let principal = asked(request)?;
        let mut seen = self.connections.of(&principal, MOST_SHOWN + 1).await;
        let has_more = seen.len() > MOST_SHOWN;
        seen.truncate(MOST_SHOWN);
        let data: Vec<Value> = seen.iter().map(|seen| self.shown(seen)).collect();
        Ok(json(
            StatusCode::OK,
            &json!({"principal": principal.to_string(), "data": data, "has_more": has_more}),
        ))
    }

    fn shown(&self, seen: &Seen) -> Value {
        let mut shown = json!({"id": seen.id, "since": seen.since});
        if let Some(here) = &seen.here {
            shown["replica"] = json!(self.replica);
            shown["client"] = json!(here.client);
        }
        shown
    }

    async fn end(&self, request: &Request) -> Result<Response, Problem> {
        let principal = asked(request)?;
        let here = self.connections.disconnect_everywhere(&principal).await.map_err(|error| {
            tracing::warn!(event = "disconnect_failed", error = %crate::telemetry::Chain(&error), "other replicas could not be told whom to disconnect");
            let detail = "Disconnected here; the other replicas could not be told. Try again.";
            Problem::from(Failure::new(ErrorCode::StateUnavailable, detail))
        })?;
        Ok(json(
            StatusCode::ACCEPTED,
            &json!({"principal": principal.to_string(), "disconnected_here": here}),
        ))
    }
}

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roster").field("replica", &self.replica).finish_non_exhaustive()
    }
}

/// Who is meant: `key:NAME`, `subject:NAME` or `address:ADDRESS`.
fn asked(request: &Request) -> Result<Principal, Problem> {
    let asked: Option<Asked> = request.params().ok();
    let principal = asked.and_then(|asked| asked.principal.parse().ok());
    principal.ok_or_else(|| {
        let fault = Fault::parameter("principal", "must be key:NAME, subject:NAME or address:ADDRESS");
        super::body::invalid(vec![fault])
    })
}

fn json(status: StatusCode, body: &Value) -> Response {
    let response = Response::builder().status(status).content_type("application/json");
    response.header(header::CACHE_CONTROL, "no-store").body(body.to_string())
}

fn wrong_method() -> Response {
    let mut response =
        Problem::answer_to(poem::error::MethodNotAllowedError.into(), &RequestId::random(), &[]);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, DELETE"));
    response
}
