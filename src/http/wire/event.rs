//! Events of a turn.

use poem_openapi::{Object, Union};

use super::parts::{ConversationRef, Failure, Routing, Usage};

/// The turn was accepted.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct TurnStartedEvent {
    /// Its place in the turn's log; opaque, only ever grows.
    pub id: String,
    /// The turn.
    pub turn_id: String,
    /// When it happened (RFC 3339, UTC).
    pub time: String,
    /// Where it belongs.
    pub conversation: ConversationRef,
    /// The id of the user's message.
    pub message_id: String,
    /// True where shared state could not be reached.
    pub degraded: Option<bool>,
}

/// The personas were chosen.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct RoutingDecidedEvent {
    /// Its place in the turn's log; opaque, only ever grows.
    pub id: String,
    /// The turn.
    pub turn_id: String,
    /// When it happened (RFC 3339, UTC).
    pub time: String,
    /// Who, and why.
    pub routing: Routing,
}

/// A persona's model is about to be called.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct ReplyStartedEvent {
    /// Its place in the turn's log; opaque, only ever grows.
    pub id: String,
    /// The turn.
    pub turn_id: String,
    /// When it happened (RFC 3339, UTC).
    pub time: String,
    /// Who speaks.
    pub persona: String,
}

/// A piece of a reply's text.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct ReplyDeltaEvent {
    /// Its place in the turn's log; opaque, only ever grows.
    pub id: String,
    /// The turn.
    pub turn_id: String,
    /// When it happened (RFC 3339, UTC).
    pub time: String,
    /// Who speaks.
    pub persona: String,
    /// The piece.
    pub text: String,
}

/// Forget all of this reply: it starts over. Ids of an older epoch never come again.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct ReplyResetEvent {
    /// Its place in the turn's log; opaque, only ever grows.
    pub id: String,
    /// The turn.
    pub turn_id: String,
    /// When it happened (RFC 3339, UTC).
    pub time: String,
    /// Who starts over.
    pub persona: String,
    /// Why. The server may add to these.
    pub reason: String,
}

/// A reply ended well.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct ReplyCompletedEvent {
    /// Its place in the turn's log; opaque, only ever grows.
    pub id: String,
    /// The turn.
    pub turn_id: String,
    /// When it happened (RFC 3339, UTC).
    pub time: String,
    /// Who spoke.
    pub persona: String,
    /// Its message in the conversation.
    pub message_id: String,
    /// The whole text.
    pub content: String,
    /// Why the model stopped, in its own word.
    pub finish_reason: String,
    /// The model that answered.
    pub model: Option<String>,
    /// What it cost.
    pub usage: Option<Usage>,
}

/// A reply ended badly.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct ReplyFailedEvent {
    /// Its place in the turn's log; opaque, only ever grows.
    pub id: String,
    /// The turn.
    pub turn_id: String,
    /// When it happened (RFC 3339, UTC).
    pub time: String,
    /// Who should have spoken.
    pub persona: String,
    /// Why not.
    pub error: Failure,
}

/// A reply was cut short.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct ReplyCancelledEvent {
    /// Its place in the turn's log; opaque, only ever grows.
    pub id: String,
    /// The turn.
    pub turn_id: String,
    /// When it happened (RFC 3339, UTC).
    pub time: String,
    /// Who spoke.
    pub persona: String,
    /// Its message, if anything was said.
    pub message_id: Option<String>,
    /// What was said.
    pub content: String,
}

/// The turn ended; at least one reply completed.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct TurnCompletedEvent {
    /// Its place in the turn's log; opaque, only ever grows.
    pub id: String,
    /// The turn.
    pub turn_id: String,
    /// When it happened (RFC 3339, UTC).
    pub time: String,
    /// The sum over all replies.
    pub usage: Option<Usage>,
}

/// The turn ended; no reply completed.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct TurnFailedEvent {
    /// Its place in the turn's log; opaque, only ever grows.
    pub id: String,
    /// The turn.
    pub turn_id: String,
    /// When it happened (RFC 3339, UTC).
    pub time: String,
    /// Why.
    pub error: Failure,
}

/// The turn was cut short.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct TurnCancelledEvent {
    /// Its place in the turn's log; opaque, only ever grows.
    pub id: String,
    /// The turn.
    pub turn_id: String,
    /// When it happened (RFC 3339, UTC).
    pub time: String,
    /// Why. The server may add to these.
    pub reason: String,
}

/// One entry of a turn's log. The server may add to the types.
#[derive(Clone, Debug, PartialEq, Union)]
#[oai(discriminator_name = "type", one_of)]
pub enum TurnEvent {
    /// The turn was accepted.
    #[oai(mapping = "turn.started")]
    TurnStarted(TurnStartedEvent),
    /// The personas were chosen.
    #[oai(mapping = "routing.decided")]
    RoutingDecided(RoutingDecidedEvent),
    /// A persona's model is about to be called.
    #[oai(mapping = "reply.started")]
    ReplyStarted(ReplyStartedEvent),
    /// A piece of a reply's text.
    #[oai(mapping = "reply.delta")]
    ReplyDelta(ReplyDeltaEvent),
    /// Forget all of this reply: it starts over. Ids of an older epoch never come again.
    #[oai(mapping = "reply.reset")]
    ReplyReset(ReplyResetEvent),
    /// A reply ended well.
    #[oai(mapping = "reply.completed")]
    ReplyCompleted(ReplyCompletedEvent),
    /// A reply ended badly.
    #[oai(mapping = "reply.failed")]
    ReplyFailed(ReplyFailedEvent),
    /// A reply was cut short.
    #[oai(mapping = "reply.cancelled")]
    ReplyCancelled(ReplyCancelledEvent),
    /// The turn ended; at least one reply completed.
    #[oai(mapping = "turn.completed")]
    TurnCompleted(TurnCompletedEvent),
    /// The turn ended; no reply completed.
    #[oai(mapping = "turn.failed")]
    TurnFailed(TurnFailedEvent),
    /// The turn was cut short.
    #[oai(mapping = "turn.cancelled")]
    TurnCancelled(TurnCancelledEvent),
}
