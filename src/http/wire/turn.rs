//! A turn and its parts.

use std::collections::BTreeMap;

use poem_openapi::Object;

use super::conversation::Message;
use super::problem::Problem;
use super::scalars::{CancelReason, FinishReason, MetadataValue, ReplyStatus, RoutingSource, TurnStatus};
use crate::words::{ConversationId, EventId, MessageId, PersonaId, Timestamp, TurnId};

/// Who answers, and why.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct Routing {
    /// The chosen personas, in the order in which the turn lists their replies.
    pub personas: Vec<PersonaId>,
    /// Which way the decision was made.
    pub source: RoutingSource,
    /// A sentence for people.
    pub reason: String,
}

/// Tokens as the model counted them; absent where it did not say, never a made-up zero.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct Usage {
    /// Tokens of the prompt.
    pub input_tokens: Option<u64>,
    /// Tokens of the answer.
    pub output_tokens: Option<u64>,
    /// Both, where both are known.
    pub total_tokens: Option<u64>,
}

/// The conversation a turn belongs to.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct ConversationRef {
    /// Its id.
    pub id: ConversationId,
    /// Whether this turn is its first.
    pub created: bool,
}

/// One persona's part of a turn, so far.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct Reply {
    /// Who speaks.
    pub persona: PersonaId,
    /// How far it is.
    pub status: ReplyStatus,
    /// Its message in the conversation, once there is one.
    pub message_id: Option<MessageId>,
    /// What was said so far.
    pub content: String,
    /// Why the model stopped; the model's own word.
    pub finish_reason: Option<FinishReason>,
    /// The model that answered, as it names itself.
    pub model: Option<String>,
    /// What it cost.
    pub usage: Option<Usage>,
    /// Why it failed.
    pub error: Option<Problem>,
}

/// One user message and everything that answers it.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct Turn {
    /// Its id.
    pub turn_id: TurnId,
    /// Where it belongs.
    pub conversation: ConversationRef,
    /// How far it is.
    pub status: TurnStatus,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The newest event this view contains: a stream that resumes after it misses nothing and repeats nothing.
    pub last_event_id: EventId,
    /// What the user said.
    pub message: Message,
    /// Who was chosen, once decided.
    pub routing: Option<Routing>,
    /// One entry for each chosen persona, in the order of `routing.personas`.
    pub replies: Vec<Reply>,
    /// The sum over all replies, once ended.
    pub usage: Option<Usage>,
    /// Why the whole turn failed.
    pub error: Option<Problem>,
    /// Why it was cancelled.
    pub cancel_reason: Option<CancelReason>,
    /// Whether something the turn needs could not be read or written meanwhile.
    pub degraded: Option<bool>,
    /// What the caller attached.
    pub metadata: Option<BTreeMap<String, MetadataValue>>,
}
