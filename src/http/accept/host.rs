//! Whom a request is for must be said once: what is behind us and what is before us may read different lines of two.

use http::{HeaderValue, Request, StatusCode, Version, header};
use poem::Response;

/// Whether an HTTP/1 request has the one `Host` that it must have (RFC 9112 §3.2), or an HTTP/2 one no other than its
/// authority (RFC 9113 §8.3.1).
pub(super) fn is_clear<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next(), request.version()) {
        (_, Some(_), _) => false,
        (None, None, version) => version != Version::HTTP_11,
        (Some(host), None, Version::HTTP_2) => {
            let authority = request.uri().authority();
            authority.is_none_or(|authority| authority.as_str().as_bytes() == host.as_bytes())
        }
        (Some(_), None, _) => true,
    }
}

/// Like everything that is no proper request: without a body, and the connection ends with it.
pub(super) fn refusal() -> Response {
    let mut response = Response::from(StatusCode::BAD_REQUEST);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clear(version: Version, uri: &str, hosts: &[&str]) -> bool {
        let request = Request::builder().version(version).uri(uri);
        let request = hosts.iter().fold(request, |request, host| request.header(header::HOST, *host));
        is_clear(&request.body(()).unwrap())
    }

    #[test]
    fn one_host_is_clear_and_no_other_number_is() {
        assert!(clear(Version::HTTP_11, "/", &["a.example"]));
        assert!(!clear(Version::HTTP_11, "/", &[]));
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            assert!(!clear(version, "/", &["a.example", "a.example"]), "{version:?}");
        }
        assert!(clear(Version::HTTP_10, "/", &[]), "version 1.0 had none yet");
    }

    #[test]
    fn an_http2_host_says_what_the_authority_says() {
        let uri = "http://a.example/";
        assert!(clear(Version::HTTP_2, uri, &[]) && clear(Version::HTTP_2, uri, &["a.example"]));
        assert!(!clear(Version::HTTP_2, uri, &["b.example"]));
    }
}
