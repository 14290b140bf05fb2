//! The socket itself: messages in, messages out, each with a deadline.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt as _};
use poem::Upgraded;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::sync::CancellationToken;

use super::close;
use crate::http::Services;
use crate::telemetry::metrics::SocketEnd;

/// How long both sides may take to say goodbye: a round trip, and then some.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A socket that is never waited for without a bound.
pub(super) struct Wire {
    stream: WebSocketStream<Upgraded>,
    send_timeout: Duration,
    hard: CancellationToken,
}

impl Wire {
    pub fn new(stream: WebSocketStream<Upgraded>, services: &Services) -> Self {
        let send_timeout = *services.config.server.slow_reader_timeout;
        Self { stream, send_timeout, hard: services.shutdown.hard().clone() }
    }

    /// The next message, or why there is none. Cancel-safe.
    pub async fn next(&mut self) -> Result<Message, SocketEnd> {
        match self.stream.next().await {
            Some(Ok(message)) => Ok(message),
            Some(Err(error)) => Err(close::end_of(&error)),
            None => Err(SocketEnd::Normal),
        }
    }

    /// Sends one message, and what was queued; a reader that takes nothing within the bound is cut off.
    pub async fn send(&mut self, message: Message) -> Result<(), SocketEnd> {
        self.bounded(async |stream| stream.send(message).await).await
    }

    /// Queues one message; it goes out at the latest with [`Self::flush`].
    pub async fn queue(&mut self, message: Message) -> Result<(), SocketEnd> {
        self.bounded(async |stream| stream.feed(message).await).await
    }

    /// Sends what was queued.
    pub async fn flush(&mut self) -> Result<(), SocketEnd> {
        self.bounded(async |stream| stream.flush().await).await
    }

    async fn bounded(
        &mut self,
        write: impl AsyncFnOnce(&mut WebSocketStream<Upgraded>) -> Result<(), tungstenite::Error>,
    ) -> Result<(), SocketEnd> {
        tokio::select! {
            biased;
            written = timeout(self.send_timeout, write(&mut self.stream)) => match written {
                Ok(written) => written.map_err(|error| close::end_of(&error)),
                Err(_) => Err(SocketEnd::SlowReader),
            },
            () = self.hard.cancelled() => Err(SocketEnd::ServiceRestart),
        }
    }

    /// Says why, and waits a moment for the answer, so that the reason is not lost in a reset connection.
    pub async fn close(mut self, end: SocketEnd) {
        if end != SocketEnd::ClientGone {
            // Either way nothing more can be done for the other side.
            let _ = timeout(CLOSE_TIMEOUT, self.say_goodbye(end)).await;
        }
    }

    async fn say_goodbye(&mut self, end: SocketEnd) {
        if end == SocketEnd::Normal {
            // The other side has said goodbye; what is left is to send the answer, which is queued already.
            let _ = SinkExt::close(&mut self.stream).await;
            return;
        }
        if self.stream.close(Some(close::frame(end))).await.is_err() {
            return;
        }
        if close::is_violation(end) {
            // Unread bytes would make the kernel reset the connection before the reason was read.
            let _ = tokio::io::copy(self.stream.get_mut(), &mut tokio::io::sink()).await;
        } else {
            while let Some(Ok(_)) = self.stream.next().await {}
        }
    }
}
