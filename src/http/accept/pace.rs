//! How long a connection may take for what.
//!
//! hyper has one timer for "no complete header yet", and it runs while a connection is idle, too: long enough for a
//! balancer's idle connections, it lets a half-sent header stay as long; short enough for headers, it cuts idle
//! connections under a balancer that is just about to use them. It also does not run before the first byte, nor
//! inside a half-sent HTTP/2 preface. So hyper's timer is off, and this one looks at the bytes themselves.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use http::Version;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::Settings;
use super::crowd::Member;
use super::place::Place;
use super::streams::Stream;
use crate::telemetry::metrics::ConnectionEnd;

/// What a connection is doing.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Accepted; its first request has not begun to be answered.
    Fresh { since: Instant },
    /// Between two requests, not a byte of the next one seen.
    Idle { since: Instant },
    /// The next request's header has begun. Never on HTTP/2: there a ping is a byte, too, and a half-sent header is
    /// bounded like an idle connection.
    Header { since: Instant },
    /// Requests are being answered.
    Serving { requests: usize },
}

#[derive(Debug)]
struct State {
    phase: Phase,
    is_http2: bool,
    /// Since when the reader has taken nothing of what is waiting for it.
    stalled: Option<Instant>,
    was_too_slow: bool,
}

/// A connection's phase and what it means for its life.
#[derive(Debug)]
pub(super) struct Pace {
    state: Mutex<State>,
    began: Instant,
    header_timeout: Duration,
    keep_alive_timeout: Duration,
    slow_reader_timeout: Duration,
    /// Wakes the connection's task: on HTTP/2, requests end in tasks of their own.
    task: AtomicWaker,
}

impl Pace {
    pub(super) fn fresh(settings: &Settings) -> Arc<Self> {
        let began = Instant::now();
        let phase = Phase::Fresh { since: began };
        Arc::new(Self {
            began,
            state: Mutex::new(State { phase, is_http2: false, stalled: None, was_too_slow: false }),
            header_timeout: settings.header_timeout,
            keep_alive_timeout: settings.keep_alive_timeout,
            slow_reader_timeout: settings.slow_reader_timeout,
            task: AtomicWaker::new(),
        })
    }

    /// When a new connection's first request must be complete, with everything before it.
    pub(super) fn first_request_by(&self) -> Instant {
        self.began + self.header_timeout
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_http2(&self) -> bool {
        self.state().is_http2
    }

    /// A request's header is complete; it is being answered until the guard is dropped.
    pub(super) fn request_started(self: &Arc<Self>, version: Version) -> Answering {
        let mut state = self.state();
        state.is_http2 = version == Version::HTTP_2;
        let running = match state.phase {
            Phase::Serving { requests } => requests,
            Phase::Fresh { .. } | Phase::Idle { .. } | Phase::Header { .. } => 0,
        };
        state.phase = Phase::Serving { requests: running + 1 };
        Answering(self.clone())
    }

    fn request_ended(&self) {
        let mut state = self.state();
        if let Phase::Serving { requests } = state.phase {
            state.phase = match requests {
                0 | 1 => Phase::Idle { since: Instant::now() },
                more => Phase::Serving { requests: more - 1 },
            };
        }
        let elsewhere = state.is_http2;
        drop(state);
        if elsewhere {
            self.task.wake();
        }
    }

    fn bytes_arrived(&self) {
        let mut state = self.state();
        if matches!(state.phase, Phase::Idle { .. }) && !state.is_http2 {
            state.phase = Phase::Header { since: Instant::now() };
        }
    }

    fn written(&self, something: bool) {
        let mut state = self.state();
        state.stalled = if something { None } else { state.stalled.or_else(|| Some(Instant::now())) };
    }

    /// When the connection ends if nothing changes, and why.
    fn deadline(&self) -> Option<(Instant, ConnectionEnd)> {
        let state = self.state();
        let by_phase = match state.phase {
            Phase::Fresh { since } | Phase::Header { since } => {
                Some((since + self.header_timeout, ConnectionEnd::HeaderTimeout))
            }
            Phase::Idle { since } => Some((since + self.keep_alive_timeout, ConnectionEnd::IdleTimeout)),
            Phase::Serving { .. } => None,
        };
        // The catalogue has no reason of its own for it: the time one write may take is a limit.
        let by_reader = state.stalled.map(|since| (since + self.slow_reader_timeout, ConnectionEnd::Limit));
        [by_phase, by_reader].into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}

/// A request that is being answered: until its answer's last byte is handed over, or nobody wants it any more.
#[derive(Debug)]
pub(super) struct Answering(Arc<Pace>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.request_ended();
    }
}

/// The connection below a request, in its extensions: lets a stream that was dropped say why.
#[derive(Clone, Debug)]
pub struct Wire {
    pace: Arc<Pace>,
    stream: Option<Arc<Stream>>,
}

impl Wire {
    pub(super) fn new(pace: Arc<Pace>, stream: Option<Arc<Stream>>) -> Self {
        Self { pace, stream }
    }

    /// Whether the request was cut because its reader took nothing for too long.
    pub fn was_too_slow(&self) -> bool {
        self.pace.state().was_too_slow || self.stream.as_ref().is_some_and(|stream| stream.was_cut())
    }
}

/// Ends a connection that takes too long.
pub(super) struct Clock {
    pace: Arc<Pace>,
    sleep: Pin<Box<Sleep>>,
}

impl Clock {
    pub(super) fn of(pace: Arc<Pace>) -> Self {
        let sleep = Box::pin(tokio::time::sleep(pace.header_timeout));
        Self { pace, sleep }
    }

    /// Ready with the reason when the connection has taken too long. To be polled after the connection: what moves
    /// the deadline happens there. The timer is only ever moved forward, or when it has run out: most requests come and go
    /// without touching it.
    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionEnd> {
        self.pace.task.register(cx.waker());
        loop {
            let Some((at, end)) = self.pace.deadline() else { return Poll::Pending };
            if at < self.sleep.deadline() || self.sleep.is_elapsed() {
                self.sleep.as_mut().reset(at);
            }
            ready!(self.sleep.as_mut().poll(cx));
            if at <= Instant::now() {
                self.pace.state().was_too_slow = end == ConnectionEnd::Limit;
                return Poll::Ready(end);
            }
        }
    }
}

/// A socket that tells its pace what passes, and keeps its place. Below TLS, so that what TLS holds back is not taken for
/// what the reader has taken.
pub(super) struct Paced<IO> {
    io: IO,
    pace: Arc<Pace>,
    _place: (Arc<Place>, Member),
}

impl<IO> Paced<IO> {
    pub(super) fn new(io: IO, pace: Arc<Pace>, place: (Arc<Place>, Member)) -> Self {
        Self { io, pace, _place: place }
    }

    fn noted(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.pace.written(written.is_ready());
        written
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Paced<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.pace.bytes_arrived();
        }
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Paced<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.noted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
