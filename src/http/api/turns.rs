//! One user message and everything that answers it.

use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, OpenApi};

use super::Tag;
use super::asked::{Asked, AskedForEvents, KeyHeader, known};
use super::chat::{TurnJson, replayed};
use super::failed::lost;
use super::header::SentHeader;
use crate::chat::{ChatError, ChatRequest};
use crate::http::body::Checked;
use crate::http::problem::{Fault, Problem};
use crate::http::sse::EventStream;
use crate::http::wire::{Documented, Sent};
use crate::telemetry::metrics::{ResumeOutcome, Transport};
use crate::words::{ErrorCode, EventId, Failure, TurnId};

/// The answer to a turn that was started.
#[derive(ApiResponse)]
enum Accepted {
    /// The turn runs.
    #[oai(status = 202)]
    Running(
        TurnJson,
        #[oai(header = "Location")] String,
        #[oai(header = "Turn-Id")] String,
        #[oai(header = "Idempotent-Replayed")] Option<String>,
    ),
}

#[derive(ApiResponse)]
enum Read {
    /// The turn as it stands.
    #[oai(status = 200)]
    Turn(TurnJson, #[oai(header = "Location")] String, #[oai(header = "Turn-Id")] String),
}

#[derive(ApiResponse)]
enum Followed {
    /// The turn's events, after the one that was named.
    #[oai(status = 200)]
    Events(EventStream, #[oai(header = "Location")] String, #[oai(header = "Turn-Id")] String),
    /// The event that was named was the terminal one: nothing will follow. It stops an `EventSource`.
    #[oai(status = 204)]
    Ended,
}

#[derive(ApiResponse)]
enum Cancelled {
    /// The turn has ended.
    #[oai(status = 200)]
    Ended(TurnJson, #[oai(header = "Location")] String, #[oai(header = "Turn-Id")] String),
    /// The cancel was accepted and takes effect within 2 s.
    #[oai(status = 202)]
    Cancelling(TurnJson, #[oai(header = "Location")] String, #[oai(header = "Turn-Id")] String),
}

pub(super) struct TurnsApi;

#[OpenApi(tag = "Tag::Turns")]
impl TurnsApi {
    /// Ask and do not wait
    ///
    /// The same request as `createChat`, answered at once with the turn as it begins.
    #[oai(path = "/turns", method = "post", operation_id = "startTurn")]
    async fn start_turn(
        &self,
        asked: Asked,
        /// Makes a repetition find the same turn: same key and body, same turn. 1 to 255 visible characters, quoted or
        /// not; kept as long as the turn.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: KeyHeader,
        body: Checked<ChatRequest>,
    ) -> poem::Result<Accepted> {
        let (caller, request) = asked.chat(Transport::Json, idempotency_key, body)?;
        let chat = &asked.services.chat;
        let started = chat.start(&caller, request).await.map_err(Problem::from)?;
        let turn = chat.turn(&caller, started.turn).await.map_err(|error| lost(&asked, started, error))?;
        let (location, id) = (asked.location(started.turn), started.turn.to_string());
        Ok(Accepted::Running(Documented::new(turn), location, id, replayed(started)))
    }

    /// Read a turn
    ///
    /// Its state and its replies so far. A turn is kept for a while after its end, then forgotten.
    #[oai(path = "/turns/:turn_id", method = "get", operation_id = "getTurn")]
    async fn get_turn(
        &self,
        asked: Asked,
        /// The turn.
        turn_id: Path<Sent<TurnId>>,
    ) -> poem::Result<Read> {
        let turn = known(&turn_id.text, ChatError::TurnNotFound)?;
        let read = asked.services.chat.turn(&asked.caller(), turn).await;
        let body = Documented::new(read.map_err(Problem::from)?);
        Ok(Read::Turn(body, asked.location(turn), turn.to_string()))
    }

    /// Follow a turn
    ///
    /// Its events from the first, or exactly after the one that is named, from any replica. `reply.reset` means: forget
    /// all of this reply. A second `routing.decided` means: forget all replies. Ids of an older epoch never come again.
    #[oai(path = "/turns/:turn_id/events", method = "get", operation_id = "streamTurnEvents")]
    async fn stream_turn_events(
        &self,
        asked: AskedForEvents,
        /// The turn.
        turn_id: Path<Sent<TurnId>>,
        /// The last event that was seen, as an `EventSource` sends it. Wins over `after`.
        #[oai(name = "Last-Event-ID")]
        last_event_id: SentHeader<EventId>,
        /// The last event that was seen, for clients that cannot set headers.
        after: Query<Option<Sent<EventId>>>,
    ) -> poem::Result<Followed> {
        let asked = asked.0;
        let turn: TurnId = known(&turn_id.text, ChatError::TurnNotFound)?;
        let position = position(last_event_id.0, after.0)?;

        let caller = asked.identity.caller(Transport::Sse, None);
        let followed = asked.services.chat.follow(&caller, turn, position).await;
        if position.is_some() {
            let outcome = match &followed {
                Ok(Some(_)) => ResumeOutcome::Resumed,
                Ok(None) => ResumeOutcome::Ended,
                Err(_) => ResumeOutcome::Refused,
            };
            asked.services.metrics.sse.resumes.inc(&(outcome,));
        }
        let Some(reader) = followed.map_err(Problem::from)? else {
            return Ok(Followed::Ended);
        };
        let events = EventStream::open(reader, asked.identity.request_id.clone(), asked.surroundings());
        Ok(Followed::Events(events, asked.location(turn), turn.to_string()))
    }

    /// Cancel a turn
    ///
    /// From any replica, as often as you like. What was said until then is kept.
    #[oai(path = "/turns/:turn_id/cancel", method = "post", operation_id = "cancelTurn")]
    async fn cancel_turn(
        &self,
        asked: Asked,
        /// The turn.
        turn_id: Path<Sent<TurnId>>,
    ) -> poem::Result<Cancelled> {
        let turn = known(&turn_id.text, ChatError::TurnNotFound)?;
        let cancelled = asked.services.chat.cancel(&asked.caller(), turn).await;
        let cancelled = cancelled.map_err(Problem::from)?;
        let (body, location, id) = (Documented::new(cancelled.turn), asked.location(turn), turn.to_string());
        Ok(if cancelled.ended {
            Cancelled::Ended(body, location, id)
        } else {
            Cancelled::Cancelling(body, location, id)
        })
    }
}

/// The position a reader asks for. An empty header is none: that is what a reader has seen before its first event.
fn position(header: Option<Sent<EventId>>, query: Option<Sent<EventId>>) -> Result<Option<EventId>, Problem> {
    let header = header.filter(|sent| !sent.text.is_empty());
    let refuse = |fault: Fault| {
        let failure = Failure::new(ErrorCode::InvalidEventId, "This is not the id of an event.");
        Problem { errors: vec![fault], ..failure.into() }
    };
    let detail = "must be the id of an event";
    match (header, query) {
        (Some(sent), _) => {
            sent.text.parse().map(Some).map_err(|_| refuse(Fault::header("Last-Event-ID", detail)))
        }
        (None, Some(sent)) => {
            sent.text.parse().map(Some).map_err(|_| refuse(Fault::parameter("after", detail)))
        }
        (None, None) => Ok(None),
    }
}
