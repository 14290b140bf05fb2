//! Compression of what is whole, textual and large enough to gain by it. Never of event streams: an event would wait in
//! the compressor.

use hyper::body::Body as HttpBody;
use poem::http::{HeaderMap, HeaderValue, header};
use poem::web::{Compress, CompressionAlgo, CompressionLevel};
use poem::{Body, IntoResponse as _, Response};

/// Below this, headers and the packet weigh more than what is saved.
const WORTH_IT: u64 = 1024;
const TEXTUAL: [&str; 4] = ["application/json", "application/problem+json", "application/yaml", "text/html"];

/// The best coding that the client takes and we have; RFC 9110 §12.5.3.
pub(super) fn accepted(headers: &HeaderMap) -> Option<CompressionAlgo> {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let offers: Vec<(&str, f32)> = values.flat_map(|value| value.split(',')).map(offer).collect();
    let quality = |name: &str| {
        let named = offers.iter().find(|(coding, _)| coding.eq_ignore_ascii_case(name));
        named
            .or_else(|| offers.iter().find(|(coding, _)| *coding == "*"))
            .map_or(0.0, |(_, quality)| *quality)
    };
    let (brotli, gzip) = (quality("br"), quality("gzip"));
    match (brotli >= gzip, brotli.max(gzip) > 0.0) {
        (_, false) => None,
        (true, true) => Some(CompressionAlgo::BR),
        (false, true) => Some(CompressionAlgo::GZIP),
    }
}

fn offer(text: &str) -> (&str, f32) {
    let (coding, parameters) = text.split_once(';').unwrap_or((text, ""));
    let quality = parameters.trim().strip_prefix("q=").map_or(1.0, |q| q.trim().parse().unwrap_or(0.0));
    (coding.trim(), quality)
}

/// Compresses `response` if the client takes it and it is worth it.
pub(super) fn compressed(mut response: Response, coding: Option<CompressionAlgo>) -> Response {
    if !is_compressible(&response) {
        return response;
    }
    let body = response.take_body();
    let size = poem_body_size(body, &mut response);
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    let Some(coding) = coding.filter(|_| size.is_some_and(|size| size > WORTH_IT)) else { return response };
    weaken_etag(response.headers_mut());
    Compress::new(response, coding).with_quality(CompressionLevel::Fastest).into_response()
}

fn is_compressible(response: &Response) -> bool {
    let headers = response.headers();
    let is_textual =
        response.content_type().is_some_and(|it| TEXTUAL.iter().any(|textual| it.starts_with(textual)));
    is_textual && !headers.contains_key(header::CONTENT_ENCODING)
}

/// How long the body is, if that is known; puts it back.
fn poem_body_size(body: Body, response: &mut Response) -> Option<u64> {
    let body = http_body_util::combinators::BoxBody::from(body);
    let size = body.size_hint().exact();
    response.set_body(Body::from(body));
    size
}

/// The bytes differ from those the strong tag stands for.
fn weaken_etag(headers: &mut HeaderMap) {
    let weak = headers.get(header::ETAG).and_then(|tag| {
        let tag = tag.to_str().ok()?;
        HeaderValue::from_str(&format!("W/{}", tag.trim_start_matches("W/"))).ok()
    });
    if let Some(weak) = weak {
        headers.insert(header::ETAG, weak);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coding(accept: &str) -> Option<CompressionAlgo> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, accept.parse().unwrap());
        accepted(&headers)
    }

    #[test]
    fn the_client_chooses_the_coding() {
        assert_eq!(coding("gzip, deflate, br"), Some(CompressionAlgo::BR));
        assert_eq!(coding("gzip"), Some(CompressionAlgo::GZIP));
        assert_eq!(coding("br;q=0.5, gzip;q=0.8"), Some(CompressionAlgo::GZIP));
        assert_eq!(coding("*"), Some(CompressionAlgo::BR));
        assert_eq!(coding("*, br;q=0"), Some(CompressionAlgo::GZIP));
        for none in ["identity", "zstd", "gzip;q=0", "br;q=nonsense", ""] {
            assert_eq!(coding(none), None, "{none}");
        }
    }
}
