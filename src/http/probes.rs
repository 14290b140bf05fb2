//! Probes: answered before everything else, from atomics, so that they answer when nothing else does.

use std::sync::Arc;

use poem::http::{Method, StatusCode, header};
use poem::{Request, Response};
use serde_json::json;

use super::{Health, Readiness};

/// The version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The revision it was built from, if the build said so.
pub const REVISION: &str = match option_env!("POLYLOGUE_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// Who answers `/livez`, `/readyz` and `/version`, and on the management port `/startupz`.
#[derive(Clone, Debug)]
pub struct Probes {
    health: Arc<Health>,
    tells_startup: bool,
}

impl Probes {
    /// Those of the public port.
    pub fn public(health: Arc<Health>) -> Self {
        Self { health, tells_startup: false }
    }

    /// Those of the management port.
    pub fn management(health: Arc<Health>) -> Self {
        Self { health, tells_startup: true }
    }

    /// The answer, if the request is a probe.
    pub fn answer(&self, request: &Request) -> Option<Response> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return None;
        }
        match request.uri().path() {
            "/livez" => {
                Some(verdict(self.health.is_alive(), if self.health.is_alive() { "ok" } else { "stalled" }))
            }
            "/readyz" => {
                let readiness = self.health.readiness();
                Some(verdict(readiness == Readiness::Ready, readiness.as_str()))
            }
            "/startupz" if self.tells_startup => {
                let started = self.health.is_started();
                Some(verdict(started, if started { "ok" } else { "starting" }))
            }
            "/version" => {
                Some(answer(StatusCode::OK, "application/json", json!({"version": VERSION}).to_string()))
            }
            _ => None,
        }
    }
}

fn verdict(is_good: bool, word: &'static str) -> Response {
    let status = if is_good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer(status, "text/plain; charset=utf-8", word.to_owned())
}

fn answer(status: StatusCode, content_type: &str, body: String) -> Response {
    Response::builder()
        .status(status)
        .content_type(content_type)
        .header(header::CACHE_CONTROL, "no-store")
        .body(body)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ask(probes: &Probes, path: &str) -> u16 {
        let request = Request::builder().uri_str(path).finish();
        probes.answer(&request).map_or(404, |response| response.status().as_u16())
    }

    #[tokio::test(start_paused = true)]
    async fn liveness_ends_when_the_accept_loop_has_not_run_for_ten_seconds() {
        let health = Arc::new(Health::new());
        let probes = Probes::public(health.clone());
        health.beat();
        tokio::time::advance(Duration::from_millis(9_999)).await;
        assert_eq!(ask(&probes, "/livez"), 200);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(ask(&probes, "/livez"), 503);
        health.beat();
        assert_eq!(ask(&probes, "/livez"), 200);
    }

    #[tokio::test]
    async fn readiness_begins_with_the_start_and_ends_with_draining() {
        let health = Arc::new(Health::new());
        let probes = Probes::management(health.clone());
        assert_eq!((ask(&probes, "/readyz"), ask(&probes, "/startupz")), (503, 503));
        health.started();
        assert_eq!((ask(&probes, "/readyz"), ask(&probes, "/startupz")), (200, 200));
        health.draining();
        assert_eq!((ask(&probes, "/readyz"), ask(&probes, "/startupz")), (503, 200));
        assert_eq!(ask(&probes, "/livez"), 200, "a stop is not a reason to be killed");
    }

    #[test]
    fn the_public_port_does_not_tell_about_startup() {
        assert_eq!(ask(&Probes::public(Arc::default()), "/startupz"), 404);
    }
}
