//! Server-sent events: a turn's log as one response that lasts.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use futures_util::stream::poll_fn;
use poem::{Body, IntoResponse, Response};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::Type as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tracing::{Instrument as _, Span, info, warn};

use super::accept::Wire;
use super::{Services, wire};
use crate::chat::{ChatError, Reader};
use crate::config::Config;
use crate::shutdown::Shutdown;
use crate::telemetry::Chain;
use crate::telemetry::metrics::{Label as _, Metrics, StreamEnd};
use crate::words::{Event, RequestId, TurnId};

/// The `format` by which the document step finds streams.
pub const FORMAT: &str = "event-stream";

/// What a stream begins with, at once: how long to wait before reconnecting, and a first comment that opens proxies.
const OPENING: &[u8] = b"retry: 2000\n: ok\n\n";
/// What is said in a silence, so that nothing on the way takes the connection for dead.
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";
/// Bytes that are written at once, if so much is there. As much as waits for a slow reader in [`super::accept`].
const LARGEST_WRITE: usize = 32 * 1024;
/// Writes between the task that follows the turn and the connection. One: a reader is a position, nothing is queued.
const CAPACITY: usize = 1;

/// Where a stream's events come from.
pub trait Source: Send + 'static {
    /// The turn they belong to.
    fn turn(&self) -> TurnId;

    /// The next event, waiting for it; `None` after the last. Cancel-safe.
    fn next(&mut self) -> impl Future<Output = Result<Option<Arc<Event>>, ChatError>> + Send;
}

impl Source for Reader {
    fn turn(&self) -> TurnId {
        Self::turn(self)
    }

    fn next(&mut self) -> impl Future<Output = Result<Option<Arc<Event>>, ChatError>> + Send {
        Self::next(self)
    }
}

/// What a stream needs of its surroundings.
#[derive(Clone, Debug)]
pub struct Surroundings {
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    keep_alive: Duration,
    patience: Duration,
    wire: Option<Wire>,
}

impl Surroundings {
    /// Takes the silence before a comment and the patience with slow readers from the settings.
    pub fn new(config: &Config, metrics: Arc<Metrics>, shutdown: Shutdown) -> Self {
        let server = &config.server;
        let (keep_alive, patience) = (*server.sse_keep_alive, *server.slow_reader_timeout);
        Self { metrics, shutdown, keep_alive, patience, wire: None }
    }

    /// The connection below, which may notice a slow reader before the stream does.
    pub fn over(self, wire: Option<Wire>) -> Self {
        Self { wire, ..self }
    }
}

impl From<&Services> for Surroundings {
    fn from(services: &Services) -> Self {
        Self::new(&services.config, services.metrics.clone(), services.shutdown.clone())
    }
}

/// A response whose body is a turn's events, one frame each.
#[derive(Debug)]
pub struct EventStream(Body);

impl EventStream {
    /// Follows `source` on a task of its own, so that a reader that takes nothing is noticed; the turn notices nothing.
    pub fn open(source: impl Source, request_id: RequestId, around: Surroundings) -> Self {
        let (frames, mut taken) = mpsc::channel(CAPACITY);
        let cut = Arc::new(AtomicBool::new(false));
        let shutdown = around.shutdown.clone();
        let pump = Pump { source, frames, cut: cut.clone(), request_id, around };
        shutdown.spawn(pump.run().instrument(Span::current()));

        let mut done = false;
        Self(Body::from_bytes_stream(poll_fn(move |context| {
            taken.poll_recv(context).map(|frame| match frame {
                Some(frame) => Some(Ok(frame)),
                // Only a cut stream ends as an error: whatever was taken last may be lost then, and is sent again.
                None if cut.load(Ordering::Acquire) && !std::mem::replace(&mut done, true) => {
                    Some(Err(io::Error::from(io::ErrorKind::TimedOut)))
                }
                None => None,
            })
        })))
    }
}

impl Payload for EventStream {
    const CONTENT_TYPE: &'static str = "text/event-stream";

    fn schema_ref() -> MetaSchemaRef {
        let items = Some(Box::new(wire::TurnEvent::schema_ref()));
        MetaSchemaRef::Inline(Box::new(MetaSchema { items, ..MetaSchema::new_with_format("string", FORMAT) }))
    }

    fn register(registry: &mut Registry) {
        wire::TurnEvent::register(registry);
    }
}

impl IntoResponse for EventStream {
    fn into_response(self) -> Response {
        Response::builder()
            .content_type(Self::CONTENT_TYPE)
            .header("Cache-Control", "no-store, no-transform")
            .header("X-Accel-Buffering", "no")
            .body(self.0)
    }
}

/// One stream while it lasts.
struct Pump<S> {
    source: S,
    frames: mpsc::Sender<Bytes>,
    cut: Arc<AtomicBool>,
    request_id: RequestId,
    around: Surroundings,
}

impl<S: Source> Pump<S> {
    async fn run(mut self) {
        let sse = &self.around.metrics.clone().sse;
        let (turn, opened) = (self.source.turn(), Instant::now());
        let _open = sse.open.hold();
        sse.opened.inc(&());
        info!(event = "stream_opened", turn_id = %turn, request_id = %self.request_id, "stream opened");

        let Err(end) = self.serve().await;
        let end = self.whose_doing(end);

        self.cut.store(end == StreamEnd::SlowReader, Ordering::Release);
        sse.closed.inc(&(end,));
        sse.duration.observe(&(), opened.elapsed());
        info!(
            event = "stream_closed",
            turn_id = %turn,
            request_id = %self.request_id,
            reason = end.as_label(),
            duration_ms = opened.elapsed().as_millis() as u64,
            "stream closed"
        );
    }

    /// A reader that took nothing did not leave: its connection was cut.
    fn whose_doing(&self, end: StreamEnd) -> StreamEnd {
        let was_cut = self.around.wire.as_ref().is_some_and(Wire::was_too_slow);
        if end == StreamEnd::ClientGone && was_cut { StreamEnd::SlowReader } else { end }
    }

    async fn serve(&mut self) -> Result<Infallible, StreamEnd> {
        let mut written = BytesMut::from(OPENING);
        let mut over = self.add_ready(&mut written);
        loop {
            self.send(written.split().freeze()).await?;
            if let Some(end) = over {
                self.taken().await?;
                return Err(end);
            }
            match self.next().await? {
                None => written.extend_from_slice(KEEP_ALIVE),
                Some(event) => {
                    over = add(&event, &mut written).or_else(|| self.add_ready(&mut written));
                }
            }
        }
    }

    /// What is there already goes out with what goes out anyway: under load, one write for many tokens. Says why the stream is
    /// over behind it, if it is.
    fn add_ready(&mut self, written: &mut BytesMut) -> Option<StreamEnd> {
        while written.len() < LARGEST_WRITE {
            match self.source.next().now_or_never()? {
                Ok(Some(event)) => {
                    if let Some(end) = add(&event, written) {
                        return Some(end);
                    }
                }
                over => return told(over).err(),
            }
        }
        None
    }

    /// The next event, or `None` after so much silence.
    async fn next(&mut self) -> Result<Option<Arc<Event>>, StreamEnd> {
        let hard = self.around.shutdown.hard().clone();
        let mut silence = pin!(tokio::time::sleep(self.around.keep_alive));
        // What is there is delivered before the process ends; that is why its end is asked about after the source.
        tokio::select! {
            biased;
            () = self.frames.closed() => Err(StreamEnd::ClientGone),
            event = self.source.next() => told(event).map(Some),
            () = hard.cancelled() => Err(StreamEnd::Drain),
            () = &mut silence => Ok(None),
        }
    }

    async fn send(&mut self, frame: Bytes) -> Result<(), StreamEnd> {
        in_time(self.around.patience, self.frames.send(frame)).await
    }

    /// Waits until the connection has taken what was sent: a reader that takes nothing of the last write is slow, too.
    async fn taken(&mut self) -> Result<(), StreamEnd> {
        in_time(self.around.patience, self.frames.reserve()).await
    }
}

async fn in_time<T, E>(
    patience: Duration,
    step: impl Future<Output = Result<T, E>>,
) -> Result<(), StreamEnd> {
    match timeout(patience, step).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(StreamEnd::ClientGone),
        Err(_) => Err(StreamEnd::SlowReader),
    }
}

/// What a source had to say: an event, or why there are no more.
fn told(event: Result<Option<Arc<Event>>, ChatError>) -> Result<Arc<Event>, StreamEnd> {
    match event {
        Ok(Some(event)) => Ok(event),
        Ok(None) | Err(ChatError::Draining) => Err(StreamEnd::Drain),
        Err(error) => {
            warn!(event = "stream_lost", error = %Chain(&error), "a stream lost its turn");
            Err(StreamEnd::Deadline)
        }
    }
}

/// Adds an event as it travels: its id, its name, one line of data, an empty line. Says so if it is the last.
fn add(event: &Event, written: &mut BytesMut) -> Option<StreamEnd> {
    let (id, name, data) = (event.id.to_string(), event.body.name(), event.json());
    written.reserve(id.len() + name.len() + data.len() + 24);
    for part in ["id: ", &id, "\nevent: ", name, "\ndata: "] {
        written.extend_from_slice(part.as_bytes());
    }
    written.extend_from_slice(data);
    written.extend_from_slice(b"\n\n");
    event.body.is_terminal().then_some(StreamEnd::Completed)
}
