//! What browsers must know: which pages of other origins may ask and read (the Fetch standard, §3.2), and what an answer is.
//!
//! Not poem's middleware: it allows every origin as long as none is listed, refuses pages of our own once one is, knows
//! nothing of a path's methods, and lets a preflight pass for one allowed header among others.

use poem::http::uri::Scheme;
use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use poem::{Request, Response};
use tracing::info;

use super::doorkeeper::TurnedAway;
use super::routes::Route;
use crate::config::{AllowedOrigin, Config};
use crate::http::origin::Page;
use crate::http::{security, ws};
use crate::telemetry::metrics::{Label as _, Metrics, SocketRefusal};

/// Fields of our answers that a page may read. Pages may read none that is not here (but `Cache-Control`, `Content-Length`
/// and `Content-Type`).
pub const EXPOSED: [&str; 15] = [
    "Allow",
    "ETag",
    "Idempotent-Replayed",
    "Location",
    "Problem-Code",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Sec-WebSocket-Version",
    "Turn-Id",
    "WWW-Authenticate",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "X-Request-ID",
];

/// Fields of requests that are read here and that a page may not send without asking.
pub const TAKEN: [&str; 7] = [
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "Last-Event-ID",
    "X-Correlation-ID",
    "X-Request-ID",
];

/// What a request says of the browser it comes from.
pub(super) struct Visitor {
    page: Page,
    origin: Option<HeaderValue>,
    /// The method that a page wants to use, where it asks first.
    wanted: Option<HeaderValue>,
    is_secure: bool,
}

impl Visitor {
    pub(super) fn of(request: &Request, config: &Config) -> Self {
        let header = |name| request.headers().get(name).cloned();
        let asks_first = *request.method() == Method::OPTIONS;
        Self {
            page: Page::of(request, config),
            origin: header(header::ORIGIN),
            wanted: header(header::ACCESS_CONTROL_REQUEST_METHOD).filter(|_| asks_first),
            is_secure: *request.scheme() == Scheme::HTTPS,
        }
    }

    /// A page of another origin may have nothing done, and open no socket: browsers send both without asking first, and
    /// only hide an answer, or not even that (RFC 6455 §10.2). Decided before anything else: it costs nobody a ticket or an
    /// attempt.
    pub(super) fn may_ask(&self, method: &Method, route: Option<&Route>, metrics: &Metrics) -> bool {
        let is_socket = route.is_some_and(|route| route.pattern == ws::PATH);
        let is_harmless = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) && !is_socket;
        if self.page != Page::Foreign || is_harmless {
            return true;
        }
        if is_socket {
            let reason = SocketRefusal::Origin;
            metrics.websocket.rejected.inc(&(reason,));
            info!(event = "connection_rejected", reason = reason.as_label(), "upgrade refused");
        }
        false
    }
}

impl TurnedAway {
    pub(super) fn foreign_page() -> Self {
        Self { problem: Page::refused().into(), is_failure: false, headers: Vec::new() }
    }
}

/// What the operator allows, as header fields.
pub(super) struct Browsers {
    is_open: bool,
    is_open_to_all: bool,
    allows_credentials: bool,
    max_age: HeaderValue,
    exposed: Option<HeaderValue>,
    taken: Option<HeaderValue>,
    strict_transport: Option<HeaderValue>,
}

impl Browsers {
    pub(super) fn new(config: &Config) -> Self {
        let cors = &config.cors;
        Self {
            is_open: !cors.allowed_origins.is_empty(),
            is_open_to_all: cors.allowed_origins.contains(&AllowedOrigin::Any),
            allows_credentials: cors.allow_credentials,
            max_age: cors.max_age.as_secs().into(),
            exposed: HeaderValue::from_str(&EXPOSED.join(", ")).ok(),
            taken: HeaderValue::from_str(&TAKEN.join(", ")).ok(),
            strict_transport: security::strict_transport(*config.server.hsts_max_age),
        }
    }

    /// The answer, with what a browser must know of it, whatever it says.
    pub(super) fn tell(&self, answer: Response, route: Option<&Route>, visitor: &Visitor) -> Response {
        let mut response = security::dress(answer);
        let headers = response.headers_mut();
        if visitor.is_secure {
            put(headers, header::STRICT_TRANSPORT_SECURITY, self.strict_transport.as_ref());
        }
        // Where only some pages may read, caches must know that the answer depends on the page, also if it is for nobody.
        if self.is_open && !self.is_open_to_all {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        if visitor.page == Page::Allowed {
            self.allow(headers, visitor);
            self.answer_question(headers, route, visitor);
        }
        response
    }

    /// Lets the page read the answer.
    fn allow(&self, headers: &mut HeaderMap, visitor: &Visitor) {
        let any = HeaderValue::from_static("*");
        let origin = if self.is_open_to_all { Some(&any) } else { visitor.origin.as_ref() };
        put(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        put(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, self.exposed.as_ref());
        let credentials = self.allows_credentials.then(|| HeaderValue::from_static("true"));
        put(headers, header::ACCESS_CONTROL_ALLOW_CREDENTIALS, credentials.as_ref());
    }

    /// What a page that asks first may do: what the path has. OPTIONS is answered to everybody, before limits and
    /// credentials. A page in a public network that wants to reach us in a private one is not allowed to
    /// (`Access-Control-Allow-Private-Network` is never sent).
    fn answer_question(&self, headers: &mut HeaderMap, route: Option<&Route>, visitor: &Visitor) {
        let Some((route, wanted)) = route.zip(visitor.wanted.as_ref()) else { return };
        if route.methods().any(|method| wanted == method) {
            put(headers, header::ACCESS_CONTROL_ALLOW_METHODS, Some(&route.allow));
            put(headers, header::ACCESS_CONTROL_ALLOW_HEADERS, self.taken.as_ref());
            put(headers, header::ACCESS_CONTROL_MAX_AGE, Some(&self.max_age));
        }
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: Option<&HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value.clone());
    }
}
