//! Cross-origin requests of browsers (the Fetch standard, §3.2): which pages may read our answers.
//!
//! Not poem's middleware: it allows every origin as long as none is listed, refuses pages of our own once one is, knows
//! nothing of a path's methods, and lets a preflight pass for one allowed header among others.

use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use poem::{Request, Response};

use super::routes::Route;
use crate::config::{self, AllowedOrigin};
use crate::http::origin::Page;

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

/// What the operator allows, as header fields.
pub(super) struct Cors {
    is_open: bool,
    is_open_to_all: bool,
    allows_credentials: bool,
    max_age: HeaderValue,
    exposed: Option<HeaderValue>,
    taken: Option<HeaderValue>,
}

impl Cors {
    pub(super) fn new(settings: &config::Cors) -> Self {
        Self {
            is_open: !settings.allowed_origins.is_empty(),
            is_open_to_all: settings.allowed_origins.contains(&AllowedOrigin::Any),
            allows_credentials: settings.allow_credentials,
            max_age: settings.max_age.as_secs().into(),
            exposed: HeaderValue::from_str(&EXPOSED.join(", ")).ok(),
            taken: HeaderValue::from_str(&TAKEN.join(", ")).ok(),
        }
    }

    /// The answer to a page that asks whether it may ask, if that is what it does and it may. Asks nothing of the page but
    /// its origin: neither limits nor credentials count yet. A page in a public network that wants to reach us in a private
    /// one is not allowed to (`Access-Control-Allow-Private-Network` is never sent).
    pub(super) fn preflight(&self, request: &Request, route: Option<&Route>, page: Page) -> Option<Response> {
        let wanted = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
        let route = route.filter(|_| page == Page::Allowed && request.method() == Method::OPTIONS)?;
        let has_method = route.methods().any(|method| wanted == method);
        let mut response = Response::builder().status(StatusCode::NO_CONTENT).finish();
        let headers = response.headers_mut();
        headers.insert(header::ALLOW, route.allow.clone());
        if has_method {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, route.allow.clone());
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
            headers.extend(self.taken.clone().map(|taken| (header::ACCESS_CONTROL_ALLOW_HEADERS, taken)));
        }
        Some(response)
    }

    /// Lets an allowed page read the answer, whatever it is. Where only some pages may, caches must know that the answer
    /// depends on the page, also that to nobody.
    pub(super) fn dress(&self, headers: &mut HeaderMap, page: Page, origin: Option<&HeaderValue>) {
        if !self.is_open {
            return;
        }
        if !self.is_open_to_all {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        if page != Page::Allowed {
            return;
        }
        let any = HeaderValue::from_static("*");
        let allowed = if self.is_open_to_all { Some(&any) } else { origin };
        let credentials = self.allows_credentials.then(|| HeaderValue::from_static("true"));
        let fields: [(HeaderName, Option<HeaderValue>); 3] = [
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed.cloned()),
            (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, credentials),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, self.exposed.clone()),
        ];
        headers.extend(fields.into_iter().filter_map(|(name, value)| Some((name, value?))));
    }
}

/// Whether a request with this method is one that browsers send across origins only to have something done.
pub(super) fn changes_something(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}
