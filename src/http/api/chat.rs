//! Ask, and get the answers.

use poem_openapi::{ApiResponse, OpenApi};

use super::Tag;
use super::asked::{Asked, AskedForEvents, KeyHeader};
use super::failed::{failed, failure_of, lost};
use crate::chat::{ChatRequest, Started};
use crate::http::body::Checked;
use crate::http::problem::Problem;
use crate::http::sse::EventStream;
use crate::http::wire::{self, Documented};
use crate::telemetry::metrics::Transport;
use crate::words::{Turn, TurnStatus};

/// A turn as it is answered.
pub(super) type TurnJson = Documented<wire::Turn, Turn>;

/// The answer to a turn that was waited for.
#[derive(ApiResponse)]
pub(super) enum Answered {
    /// The turn has ended: it completed, or it was cancelled. A turn in which every reply failed is answered with the
    /// first failed reply's error instead, with `turn_id`.
    #[oai(status = 200)]
    Ended(
        TurnJson,
        #[oai(header = "Location")] String,
        #[oai(header = "Turn-Id")] String,
        #[oai(header = "Idempotent-Replayed")] Option<String>,
    ),
}

/// The answer to a turn that is followed.
#[derive(ApiResponse)]
pub(super) enum Streamed {
    /// The turn's events, from the first to the terminal one.
    #[oai(status = 200)]
    Events(
        EventStream,
        #[oai(header = "Location")] String,
        #[oai(header = "Turn-Id")] String,
        #[oai(header = "Idempotent-Replayed")] Option<String>,
    ),
}

/// Says that an earlier request with the same key started the turn.
pub(super) fn replayed(started: Started) -> Option<String> {
    started.replayed.then(|| "true".to_owned())
}

pub(super) struct ChatApi;

#[OpenApi(tag = "Tag::Chat")]
impl ChatApi {
    /// Ask and wait for all answers
    ///
    /// Runs a turn and answers when it has ended. A client that leaves does not stop it: read it where `Location` says.
    #[oai(path = "/chat", method = "post", operation_id = "createChat")]
    async fn create_chat(
        &self,
        asked: Asked,
        /// Makes a repetition find the same turn: same key and body, same turn. 1 to 255 visible characters, quoted or
        /// not; kept as long as the turn.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: KeyHeader,
        body: Checked<ChatRequest>,
    ) -> poem::Result<Answered> {
        let (caller, request) = asked.chat(Transport::Json, idempotency_key, body)?;
        let chat = &asked.services.chat;
        let started = chat.start(&caller, request).await.map_err(Problem::from)?;
        let waited = chat.wait(&caller, started.turn).await;
        let turn = waited.map_err(|error| lost(&asked, started, error))?;
        if turn.status == TurnStatus::Failed {
            return Err(failed(&asked, started, failure_of(&turn)));
        }
        let (location, id) = (asked.location(started.turn), started.turn.to_string());
        Ok(Answered::Ended(Documented::new(turn), location, id, replayed(started)))
    }

    /// Ask and follow the answers
    ///
    /// The same request as `createChat`, answered with the turn's events as they happen. A client that loses the stream
    /// goes on at `streamTurnEvents` with the last id it saw.
    #[oai(path = "/chat/stream", method = "post", operation_id = "streamChat")]
    async fn stream_chat(
        &self,
        asked: AskedForEvents,
        /// Makes a repetition find the same turn: same key and body, same turn, from its first event. 1 to 255 visible
        /// characters, quoted or not; kept as long as the turn.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: KeyHeader,
        body: Checked<ChatRequest>,
    ) -> poem::Result<Streamed> {
        let asked = asked.0;
        let (caller, request) = asked.chat(Transport::Sse, idempotency_key, body)?;
        let chat = &asked.services.chat;
        let started = chat.start(&caller, request).await.map_err(Problem::from)?;
        let followed = chat.follow(&caller, started.turn, None).await;
        let reader = followed.map_err(|error| lost(&asked, started, error))?;
        let Some(reader) = reader else {
            // Only a position at the end has nothing to read, and this one is at the beginning.
            return Err(failed(&asked, started, super::asked::internal()));
        };
        let events = EventStream::open(reader, asked.identity.request_id.clone(), asked.surroundings());
        let (location, id) = (asked.location(started.turn), started.turn.to_string());
        Ok(Streamed::Events(events, location, id, replayed(started)))
    }
}
