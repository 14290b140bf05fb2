//! Header fields that every answer has, so that a browser makes nothing of it but what it is.

use std::time::Duration;

use poem::Response;
use poem::http::{HeaderValue, StatusCode, header};

/// An answer of the API is data: nothing in it is run, loaded or framed, whatever a browser takes it for. Who may read it
/// across origins is decided by CORS; `Cross-Origin-Resource-Policy` is for loads that CORS does not govern, such as
/// `<img>` and `<script>`, so `same-origin` shuts nobody out that CORS lets in.
const FIELDS: [(header::HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
];

/// Adds the fields; one that the answer has already is more to the point and stays.
pub fn dress(mut response: Response) -> Response {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        for (name, value) in FIELDS {
            response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
        }
    }
    response
}

/// The value of `Strict-Transport-Security` (RFC 6797) that is remembered for so long; none for zero.
pub fn strict_transport(max_age: Duration) -> Option<HeaderValue> {
    let seconds = max_age.as_secs();
    (seconds > 0).then(|| HeaderValue::from_str(&format!("max-age={seconds}")).ok()).flatten()
}
