//! Reads a streamed answer to its end, within time and size.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use tokio::time::{Instant, timeout_at};

use super::wire::Response;
use super::{Chunk, ChunkStream, Ending, LlmError};

/// Text of one answer. As much as a whole turn may log (`turns.max_bytes`), so a larger one could not be shown anyway.
pub(super) const MAX_TEXT_BYTES: usize = 4 << 20;

/// How long is waited for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From the request to the first token.
    pub(super) first_token: Duration,
    /// From one token to the next.
    pub(super) gap: Duration,
    /// For everything.
    pub(super) deadline: Instant,
}

impl Patience {
    /// When waiting of at most `span` from `since` ends.
    pub(super) fn until(&self, since: Instant, span: Duration) -> Instant {
        (since + span).min(self.deadline)
    }
}

struct Reader {
    responses: BoxStream<'static, Result<Response, LlmError>>,
    patience: Patience,
    /// Since when we wait, until when.
    waiting: (Instant, Instant),
    ending: Ending,
    text_bytes: usize,
}

/// Waits for the first text or the end of an answer, so that what fails before the first token fails here.
pub(super) async fn read(
    responses: BoxStream<'static, Result<Response, LlmError>>,
    asked: Instant,
    patience: Patience,
) -> Result<ChunkStream, LlmError> {
    let waiting = (asked, patience.until(asked, patience.first_token));
    let mut reader = Reader { responses, patience, waiting, ending: Ending::default(), text_bytes: 0 };
    let first = reader.next().await?;
    let reader = matches!(first, Chunk::Text(_)).then_some(reader);
    let rest = stream::unfold(reader, |reader| async {
        let mut reader = reader?;
        let chunk = reader.next().await;
        let reader = matches!(chunk, Ok(Chunk::Text(_))).then_some(reader);
        Some((chunk, reader))
    });
    Ok(stream::iter([Ok(first)]).chain(rest).boxed())
}

impl Reader {
    /// The next piece of text, or the end.
    async fn next(&mut self) -> Result<Chunk, LlmError> {
        while self.ending.finish_reason.is_empty() {
            let (since, until) = self.waiting;
            let Ok(response) = timeout_at(until, self.responses.next()).await else {
                return Err(LlmError::Slow(until.saturating_duration_since(since)));
            };
            let said = response.ok_or(LlmError::Cut)??.say(&mut self.ending)?;
            if said.is_alive {
                let now = Instant::now();
                self.waiting = (now, self.patience.until(now, self.patience.gap));
            }
            self.text_bytes += said.text.len();
            if self.text_bytes > MAX_TEXT_BYTES {
                return Err(LlmError::Garbled("more text than an answer may have"));
            }
            self.ending.finish_reason = said.finish_reason.unwrap_or_default();
            if !said.text.is_empty() {
                return Ok(Chunk::Text(said.text));
            }
        }
        Ok(Chunk::End(self.end().await))
    }

    /// Waits for what follows the finish reason: the usage comes in a chunk of its own. The answer is whole already, so
    /// whatever goes wrong here only costs the usage.
    async fn end(&mut self) -> Ending {
        let until = self.patience.until(Instant::now(), self.patience.gap);
        while let Ok(Some(Ok(response))) = timeout_at(until, self.responses.next()).await {
            if response.say(&mut self.ending).is_err() {
                break;
            }
        }
        std::mem::take(&mut self.ending)
    }
}
