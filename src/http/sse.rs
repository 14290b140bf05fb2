//! Event streams: a turn's events as server-sent events.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::stream;
use poem::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use poem::{Body, IntoResponse, Response};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::Type as _;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::accept::Wire;
use super::wire::TurnEvent;
use crate::chat::{ChatError, Reader};
use crate::shutdown::Shutdown;
use crate::telemetry::Chain;
use crate::telemetry::metrics::{Held, Label as _, Metrics, StreamEnd};
use crate::words::{Event, TurnId};

/// Sent before anything else, so that proxies and clients know at once that the stream is open: when to reconnect, and
/// a comment.
const OPENING: &[u8] = b"retry: 2000\n: ok\n\n";
/// Sent in silence.
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// Where a stream's events come from.
pub trait EventSource: Send + 'static {
    /// The turn.
    fn turn(&self) -> TurnId;
    /// The next event; `None` after the last. Cancel-safe.
    fn next(&mut self) -> impl Future<Output = Result<Option<Arc<Event>>, ChatError>> + Send;
}

impl EventSource for Reader {
    fn turn(&self) -> TurnId {
        Self::turn(self)
    }

    fn next(&mut self) -> impl Future<Output = Result<Option<Arc<Event>>, ChatError>> + Send {
        Self::next(self)
    }
}

/// The body of an event stream.
pub struct Events(Body);

impl Events {
    /// Streams everything that `source` has; a comment after each `keep_alive` of silence. Dropping it, as happens when
    /// the client leaves, leaves the turn alone.
    pub fn of(source: impl EventSource, keep_alive: Duration, visit: StreamVisit) -> Self {
        let turn = source.turn();
        info!(event = "stream_opened", turn_id = %turn, "an event stream is open");
        let state = Streaming { source, keep_alive, visit, opened: false, ended: false };
        Self(Body::from_bytes_stream(stream::unfold(state, |mut state| async move {
            let frame = state.frame().await?;
            Some((Ok::<_, std::io::Error>(frame), state))
        })))
    }
}

struct Streaming<S> {
    source: S,
    keep_alive: Duration,
    visit: StreamVisit,
    opened: bool,
    ended: bool,
}

impl<S: EventSource> Streaming<S> {
    /// The next piece of the body: one event or one comment, so that each is flushed by itself.
    async fn frame(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.opened, true) {
            return Some(Bytes::from_static(OPENING));
        }
        if self.ended {
            return None;
        }
        match timeout(self.keep_alive, self.source.next()).await {
            Err(_) => Some(Bytes::from_static(KEEP_ALIVE)),
            Ok(Ok(Some(event))) => {
                self.ended = event.body.is_terminal();
                if self.ended {
                    self.visit.end = Some(StreamEnd::Completed);
                }
                Some(frame_of(&event))
            }
            Ok(Ok(None)) => {
                self.visit.end = Some(StreamEnd::Completed);
                None
            }
            // An ordinary end: the client comes back with its position, and is told then.
            Ok(Err(error)) => {
                self.visit.end = Some(StreamEnd::Deadline);
                warn!(turn_id = %self.source.turn(), error = %Chain(&error), "an event stream cannot go on");
                None
            }
        }
    }
}

/// One event as it goes over the wire; its JSON is one line.
fn frame_of(event: &Event) -> Bytes {
    let (id, name, json) = (event.id.to_string(), event.body.name(), event.json());
    let mut frame = BytesMut::with_capacity(id.len() + name.len() + json.len() + 24);
    for part in [b"id: ".as_slice(), id.as_bytes(), b"\nevent: ", name.as_bytes(), b"\ndata: ", json, b"\n\n"] {
        frame.put_slice(part);
    }
    frame.freeze()
}

/// What is counted and logged of one stream, from its opening to its drop.
pub struct StreamVisit {
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    wire: Option<Wire>,
    since: Instant,
    end: Option<StreamEnd>,
    _open: Held,
}

impl StreamVisit {
    /// A stream opens on this connection.
    pub fn begin(metrics: &Arc<Metrics>, shutdown: &Shutdown, wire: Option<Wire>) -> Self {
        metrics.sse.opened.inc(&());
        Self {
            metrics: Arc::clone(metrics),
            shutdown: shutdown.clone(),
            wire,
            since: Instant::now(),
            end: None,
            _open: metrics.sse.open.hold(),
        }
    }

    fn reason(&self) -> StreamEnd {
        let too_slow = self.wire.as_ref().is_some_and(Wire::was_too_slow);
        match self.end {
            Some(end) => end,
            None if too_slow => StreamEnd::SlowReader,
            None if self.shutdown.hard().is_cancelled() => StreamEnd::Drain,
            None => StreamEnd::ClientGone,
        }
    }
}

impl Drop for StreamVisit {
    fn drop(&mut self) {
        let (reason, lived) = (self.reason(), self.since.elapsed());
        self.metrics.sse.closed.inc(&(reason,));
        self.metrics.sse.duration.observe(&(), lived);
        let duration_ms = lived.as_millis() as u64;
        info!(event = "stream_closed", reason = reason.as_label(), duration_ms, "an event stream has ended");
    }
}

impl Payload for Events {
    const CONTENT_TYPE: &'static str = "text/event-stream";

    /// A string: that is what generated clients can take. The events' own schema is added to the document beside it.
    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema::new("string")))
    }

    fn register(registry: &mut Registry) {
        TurnEvent::register(registry);
    }
}

impl IntoResponse for Events {
    fn into_response(self) -> Response {
        Response::builder()
            .header(CONTENT_TYPE, Self::CONTENT_TYPE)
            .header(CACHE_CONTROL, "no-store, no-transform")
            .header("X-Accel-Buffering", "no")
            .body(self.0)
    }
}
