//! A model server that is never the bottleneck: it thinks of nothing and sends the same bytes every time.

use std::convert::Infallible;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::cli::UpstreamOptions;

/// Connections that wait to be accepted; the kernel may allow fewer.
const BACKLOG: u32 = 4_096;
/// Out of descriptors is nothing to spin on.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers until the process ends.
pub async fn serve(options: UpstreamOptions) -> anyhow::Result<()> {
    let listener = listen(&options)?;
    let base_url = format!("http://{}/v1", listener.local_addr()?);
    // Whoever started it reads the address here, or knew it.
    drop(writeln!(std::io::stdout().lock(), "{base_url}"));
    answer_on(listener, &options).await;
    Ok(())
}

fn listen(options: &UpstreamOptions) -> anyhow::Result<TcpListener> {
    let socket = if options.listen.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(options.listen).with_context(|| format!("cannot listen on {}", options.listen))?;
    Ok(socket.listen(BACKLOG)?)
}

/// Answers whoever connects to `listener`.
pub async fn answer_on(listener: TcpListener, options: &UpstreamOptions) {
    let answer = Arc::new(Answer::new(options));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(converse(stream, answer.clone()))),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn converse(stream: TcpStream, answer: Arc<Answer>) {
    // Tokens are small and each one counts; a socket that refuses the option still works.
    drop(stream.set_nodelay(true));
    let service = service_fn(move |request| respond(request, answer.clone()));
    // How a client leaves is its own affair.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

async fn respond(request: Request<Incoming>, answer: Arc<Answer>) -> Result<Response<Script>, Infallible> {
    let path = request.uri().path();
    let is_chat = *request.method() == Method::POST && path.ends_with("/chat/completions");
    if !is_chat {
        let is_models = path.ends_with("/models");
        let status = if is_models { StatusCode::OK } else { StatusCode::NOT_FOUND };
        return Ok(whole(status, if is_models { MODELS } else { NOT_FOUND }, None));
    }
    let Ok(body) = request.into_body().collect().await else {
        return Ok(whole(StatusCode::BAD_REQUEST, NOT_FOUND, None));
    };
    let body = body.to_bytes();
    if !says_true(&body, b"\"stream\"") {
        let all = answer.first + answer.gap * u32::try_from(answer.tokens).unwrap_or(0).saturating_sub(1);
        return Ok(whole(
            StatusCode::OK,
            answer.whole.clone(),
            (!all.is_zero()).then(|| Instant::now() + all),
        ));
    }
    let script = Script::stream(answer, says_true(&body, b"\"include_usage\""));
    let response = Response::builder().header(CONTENT_TYPE, "text/event-stream").body(script);
    Ok(response.unwrap_or_else(|_| unreachable!("a constant header")))
}

const MODELS: Bytes = Bytes::from_static(
    br#"{"object":"list","data":[{"id":"fixed","object":"model","created":1700000000,"owned_by":"polylogue-load"}]}"#,
);
const NOT_FOUND: Bytes = Bytes::from_static(
    br#"{"error":{"message":"no such path","type":"invalid_request_error","param":null,"code":null}}"#,
);

fn whole(status: StatusCode, body: Bytes, after: Option<Instant>) -> Response<Script> {
    let response = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json")
        .header(CONTENT_LENGTH, body.len())
        .body(Script::whole(body, after));
    response.unwrap_or_else(|_| unreachable!("constant headers"))
}

/// Whether a member of the body is true. Text that only looks like one has its quotes escaped.
fn says_true(body: &[u8], name: &[u8]) -> bool {
    memmem::find_iter(body, name).any(|at| {
        let rest = body[at + name.len()..].trim_ascii_start();
        rest.strip_prefix(b":").is_some_and(|value| value.trim_ascii_start().starts_with(b"true"))
    })
}

/// What is said, ready to be sent.
struct Answer {
    first: Duration,
    gap: Duration,
    tokens: usize,
    whole: Bytes,
    /// The role, every token, the end: each an event.
    pieces: Vec<Bytes>,
    usage: Bytes,
    done: Bytes,
}

impl Answer {
    fn new(options: &UpstreamOptions) -> Self {
        let (tokens, size) = (options.tokens as usize, options.token_bytes as usize);
        let texts: Vec<_> = (0..tokens).map(|at| text(at, size)).collect();
        let usage =
            format!(r#"{{"prompt_tokens":9,"completion_tokens":{tokens},"total_tokens":{}}}"#, tokens + 9);
        let mut pieces = vec![chunk(r#"{"role":"assistant","content":""}"#, "null")];
        pieces.extend(texts.iter().map(|text| chunk(&format!(r#"{{"content":"{text}"}}"#), "null")));
        pieces.push(chunk("{}", r#""stop""#));
        Self {
            first: options.first_token,
            gap: options.gap,
            tokens,
            whole: format!(
                r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"fixed","choices":[{{"index":0,"message":{{"role":"assistant","content":"{}"}},"finish_reason":"stop"}}],"usage":{usage}}}"#,
                texts.concat()
            )
            .into(),
            pieces,
            usage: format!("data: {HEAD}\"choices\":[],\"usage\":{usage}}}\n\n").into(),
            done: Bytes::from_static(b"data: [DONE]\n\n"),
        }
    }

    /// An event of a stream, and how long it takes to come.
    fn piece(&self, at: usize, with_usage: bool) -> Option<(&Bytes, Duration)> {
        let wait = match at {
            0 => self.first,
            at if (2..=self.tokens).contains(&at) => self.gap,
            _ => Duration::ZERO,
        };
        let after = at.checked_sub(self.pieces.len());
        let piece = match (after, with_usage) {
            (None, _) => self.pieces.get(at),
            (Some(0), true) => Some(&self.usage),
            (Some(0), false) | (Some(1), true) => Some(&self.done),
            _ => None,
        };
        piece.map(|piece| (piece, wait))
    }
}

const HEAD: &str =
    r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"fixed","#;

fn chunk(delta: &str, reason: &str) -> Bytes {
    format!("data: {HEAD}\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{reason}}}]}}\n\n")
        .into()
}

/// A token: letters that tell its number, filled up, and a space.
fn text(at: usize, size: usize) -> String {
    let mut text = format!("{at:x}");
    text.truncate(size - 1);
    while text.len() < size - 1 {
        text.push('o');
    }
    text.push(' ');
    text
}

/// A body that is sent piece by piece.
struct Script {
    answer: Option<Arc<Answer>>,
    with_usage: bool,
    at: usize,
    whole: Option<Bytes>,
    due: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Script {
    fn whole(body: Bytes, due: Option<Instant>) -> Self {
        Self { answer: None, with_usage: false, at: 0, whole: Some(body), due, sleep: None }
    }

    fn stream(answer: Arc<Answer>, with_usage: bool) -> Self {
        Self { answer: Some(answer), with_usage, at: 0, whole: None, due: None, sleep: None }
    }

    /// Waits until the next piece is due; times add up from the first one, so that a late timer delays only its own piece.
    fn poll_due(&mut self, wait: Duration, cx: &mut Context<'_>) -> Poll<()> {
        if self.sleep.is_none() {
            let due = match (self.due, wait.is_zero()) {
                (None, true) => return Poll::Ready(()),
                (Some(due), true) if due <= Instant::now() => return Poll::Ready(()),
                (due, _) => due.unwrap_or_else(Instant::now) + wait,
            };
            self.due = Some(due);
            self.sleep = Some(Box::pin(sleep_until(due)));
        }
        if let Some(sleep) = &mut self.sleep {
            ready!(sleep.as_mut().poll(cx));
        }
        self.sleep = None;
        Poll::Ready(())
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(answer) = self.answer.clone() else {
            if self.whole.is_some() {
                ready!(self.poll_due(Duration::ZERO, cx));
            }
            return Poll::Ready(self.whole.take().map(|body| Ok(Frame::data(body))));
        };
        let Some((piece, wait)) = answer.piece(self.at, self.with_usage) else { return Poll::Ready(None) };
        ready!(self.poll_due(wait, cx));
        self.at += 1;
        Poll::Ready(Some(Ok(Frame::data(piece.clone()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_found_with_and_without_spaces_and_not_in_a_text() {
        assert!(says_true(br#"{"stream": true}"#, b"\"stream\""));
        assert!(says_true(br#"{"stream":true,"a":1}"#, b"\"stream\""));
        assert!(!says_true(br#"{"stream":false,"a":true}"#, b"\"stream\""));
        assert!(!says_true(br#"{"content":"\"stream\":true"}"#, b"\"stream\""));
        assert!(!says_true(br#"{"stream_options":{"include_usage":true}}"#, b"\"stream\""));
    }
}
