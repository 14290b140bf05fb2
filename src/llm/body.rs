//! What of an upstream's response passes on to be parsed: a bounded number of bytes, to the very end.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use http::HeaderMap;
use reqwest::Response;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// Bytes of one response, framing included. A streamed token costs some 300 bytes of JSON, so this is 100,000 tokens:
/// far above what fits into a turn's deadline, and it bounds what the parser behind may buffer.
const MAX_RESPONSE_BYTES: usize = 32 << 20;
/// Bytes of one line of an event stream: an answer of 200,000 tokens in one piece. The parser behind looks at a line from
/// its beginning again with every read, so one without an end would cost it all its time.
const MAX_LINE_BYTES: usize = 1 << 20;
/// Bytes of an error's body that are read; only its code is looked at.
const MAX_ERROR_BYTES: usize = 16 << 10;
/// What may stand before an event stream and means nothing (HTML, "Parsing an event stream").
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
/// How long an error's body may take: its status is known already and matters more.
const ERROR_BODY_PATIENCE: Duration = Duration::from_secs(1);
/// How long the end of a response may take to follow its `[DONE]`.
const END_AFTER_DONE: Duration = Duration::from_millis(500);

/// The longest wait that is taken at its word; whoever asks for more is as good as gone, and clocks overflow.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// How a response is meant to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As lines of an event stream.
    Events,
    /// As one JSON value.
    Whole,
}

struct Reading {
    inner: BoxStream<'static, reqwest::Result<Bytes>>,
    form: Form,
    left: usize,
    line: usize,
    has_begun: bool,
}

/// The response with at most [`MAX_RESPONSE_BYTES`], none of its lines above [`MAX_LINE_BYTES`] if it is read in lines;
/// then it breaks.
pub(super) fn bounded(response: Response, form: Form) -> Response {
    let (parts, body) = http::Response::from(response).into_parts();
    let inner = http_body_util::BodyDataStream::new(body).boxed();
    let reading = Reading { inner, form, left: MAX_RESPONSE_BYTES, line: 0, has_begun: form == Form::Whole };
    let stream = stream::unfold(Some(reading), |reading| async {
        let mut reading = reading?;
        match reading.next().await? {
            Ok(bytes) => Some((Ok(bytes), Some(reading))),
            Err(error) => Some((Err(error), None)),
        }
    });
    http::Response::from_parts(parts, reqwest::Body::wrap_stream(stream)).into()
}

impl Reading {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        let read = if self.has_begun { self.inner.next().await? } else { self.first().await? };
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) => return Some(Err(io::Error::other(error.without_url()))),
        };
        if !self.has_room_for(&bytes) {
            return Some(Err(io::Error::other("the response is larger than one may be")));
        }
        if says_done(&bytes) {
            self.drain().await;
        }
        Some(Ok(bytes))
    }

    /// The first bytes without a byte-order mark, at which the parser behind panics. It may come in pieces.
    async fn first(&mut self) -> Option<reqwest::Result<Bytes>> {
        self.has_begun = true;
        let mut first = BytesMut::new();
        while first.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(&first) {
            match self.inner.next().await {
                Some(Ok(bytes)) => first.extend_from_slice(&bytes),
                Some(Err(error)) => return Some(Err(error)),
                None => break,
            }
        }
        let first = first.freeze();
        let mark = if first.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        (!first.is_empty()).then(|| Ok(first.slice(mark..)))
    }

    fn has_room_for(&mut self, bytes: &Bytes) -> bool {
        self.line = match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => bytes.len() - at - 1,
            None => self.line + bytes.len(),
        };
        let fits = self.left.checked_sub(bytes.len());
        self.left = fits.unwrap_or_default();
        fits.is_some() && (self.form == Form::Whole || self.line <= MAX_LINE_BYTES)
    }

    /// Waits for the end of the response. The parser behind stops at `[DONE]` and drops the rest, and a connection whose
    /// response was not read to its end cannot be used again: a pool would be none.
    async fn drain(&mut self) {
        let end = async { while let Some(Ok(_)) = self.inner.next().await {} };
        // Too late costs a connection, nothing else.
        let _late = tokio::time::timeout(END_AFTER_DONE, end).await;
    }
}

/// Whether the last line of an event stream is in here. JSON holds no raw line breaks, so no text can look like it.
/// A line that is torn between two reads is missed, which costs a connection, nothing else.
fn says_done(bytes: &[u8]) -> bool {
    const DONE: &[u8] = b"data: [DONE]";
    let tail = &bytes[bytes.len().saturating_sub(64)..];
    tail.windows(DONE.len()).any(|window| window == DONE)
        && (bytes.starts_with(DONE) || tail.windows(DONE.len() + 1).any(|w| w[0] == b'\n' && &w[1..] == DONE))
}

/// The beginning of an error's body; what does not come, or not soon, is not missed.
pub(super) async fn beginning(response: Response) -> Bytes {
    let mut stream = response.bytes_stream();
    let mut read = BytesMut::new();
    let reading = async {
        while let Some(Ok(bytes)) = stream.next().await {
            let room = MAX_ERROR_BYTES - read.len();
            read.extend_from_slice(&bytes[..bytes.len().min(room)]);
            if read.len() == MAX_ERROR_BYTES {
                break;
            }
        }
    };
    let _late = tokio::time::timeout(ERROR_BODY_PATIENCE, reading).await;
    read.freeze()
}

/// When the upstream said to come back: `Retry-After` in seconds or as a date (RFC 9110 §10.2.3), or, more exactly,
/// OpenAI's `Retry-After-Ms`.
pub(super) fn retry_after(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let text =
        |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok()).map(str::trim);
    let milliseconds = || text("retry-after-ms")?.parse().ok().map(Duration::from_millis);
    let seconds = || Duration::try_from_secs_f64(text("retry-after")?.parse().ok()?).ok();
    let date = || {
        let date = OffsetDateTime::parse(text("retry-after")?, &Rfc2822).ok()?;
        Some(Duration::try_from(date - now).unwrap_or_default())
    };
    milliseconds().or_else(seconds).or_else(date).map(|wait| wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(name: &'static str, value: &'static str) -> Option<Duration> {
        let now = OffsetDateTime::parse("Sun, 06 Nov 1994 08:49:37 GMT", &Rfc2822).unwrap();
        let headers = [(http::HeaderName::from_static(name), http::HeaderValue::from_static(value))];
        retry_after(&headers.into_iter().collect(), now)
    }

    #[test]
    fn a_wait_is_read_in_seconds_milliseconds_and_as_a_date() {
        assert_eq!(after("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(after("retry-after", "0.5"), Some(Duration::from_millis(500)));
        assert_eq!(after("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        assert_eq!(after("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
    }

    #[test]
    fn a_wait_in_the_past_is_none_to_speak_of_and_nonsense_is_no_wait() {
        assert_eq!(after("retry-after", "Sun, 06 Nov 1994 08:48:37 GMT"), Some(Duration::ZERO));
        for nonsense in ["", "soon", "-1", "NaN", "inf", "1e400"] {
            assert_eq!(after("retry-after", nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_wait_of_ages_is_a_day() {
        for ages in ["100000", "1e18", "Sun, 06 Nov 9994 08:49:37 GMT"] {
            assert_eq!(after("retry-after", ages), Some(Duration::from_secs(86400)), "{ages}");
        }
    }

    #[test]
    fn only_the_line_itself_says_done() {
        assert!(says_done(b"data: [DONE]\n\n"));
        assert!(says_done(b"data: {\"choices\":[]}\n\ndata: [DONE]\n\n"));
        assert!(!says_done(b"data: {\"content\":\"data: [DONE]\"}\n\n"));
        assert!(!says_done(b"data: {\"content\":\"a very long text that goes on\"}\n\n"));
    }

    #[tokio::test]
    async fn a_byte_order_mark_before_a_stream_is_left_out_whole_or_torn() {
        let passed_on = async |pieces: &'static [&'static [u8]], form| {
            let body = stream::iter(pieces.iter().map(|piece| io::Result::Ok(Bytes::from_static(piece))));
            let response = http::Response::new(reqwest::Body::wrap_stream(body)).into();
            bounded(response, form).bytes().await.unwrap()
        };
        let same: [&'static [&'static [u8]]; 4] = [
            &[b"\xEF\xBB\xBFdata: x\n"],
            &[b"\xEF", b"\xBB", b"\xBFdata:", b" x\n"],
            &[b"", b"\xEF\xBB\xBF", b"data: x\n"],
            &[b"da", b"ta: x\n"],
        ];
        for pieces in same {
            assert_eq!(passed_on(pieces, Form::Events).await, "data: x\n");
        }
        assert_eq!(
            passed_on(&[b"a", b"\xEF\xBB\xBF"], Form::Events).await,
            "a\u{feff}",
            "only before everything else"
        );
        assert_eq!(passed_on(&[b"\xEF\xBB"], Form::Events).await, b"\xEF\xBB".as_slice());
        assert_eq!(passed_on(&[b"\xEF\xBB\xBF{}"], Form::Whole).await, "\u{feff}{}");
    }

    #[test]
    fn fuzz_retry_after() {
        crate::fuzz::run("retry_after", |bytes| {
            let Ok(value) = http::HeaderValue::from_bytes(bytes) else { return };
            for name in ["retry-after", "retry-after-ms"] {
                let headers = [(http::HeaderName::from_static(name), value.clone())].into_iter().collect();
                let wait = retry_after(&headers, OffsetDateTime::UNIX_EPOCH);
                assert!(wait.is_none_or(|wait| wait <= MAX_RETRY_AFTER));
            }
            says_done(bytes);
        });
    }
}
