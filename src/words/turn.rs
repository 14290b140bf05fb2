//! One user message and everything that answers it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ConversationId, EventId, Failure, Message, MessageId, PersonaId, Timestamp, TurnId};

/// How far a turn is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnStatus {
    /// Some reply is still to come.
    Running,
    /// At least one reply completed.
    Completed,
    /// None completed and none was cancelled.
    Failed,
    /// The cancel was accepted before the last reply ended.
    Cancelled,
}

impl TurnStatus {
    /// Whether nothing more will happen.
    pub fn is_terminal(self) -> bool {
        self != Self::Running
    }
}

/// How far one persona's part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyStatus {
    /// Chosen, not started.
    Pending,
    /// The model is being asked or is speaking.
    Running,
    /// Ended with a finish reason.
    Completed,
    /// Ended with an error.
    Failed,
    /// Cut short.
    Cancelled,
}

impl ReplyStatus {
    /// Whether nothing more will happen.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// Why a turn was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// Somebody asked for it.
    Requested,
    /// The last reader left and the setting says so.
    Disconnect,
    /// The conversation was deleted.
    Deleted,
    /// A newer message took its place.
    Interrupted,
}

/// Why a reply starts over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetReason {
    /// Another replica took the turn over.
    Takeover,
}

/// Which way routing went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoutingSource {
    /// The caller listed the personas.
    Explicit,
    /// The message names them with `@`.
    Mention,
    /// There is only one.
    Single,
    /// The same question was decided before.
    Cache,
    /// The model decided.
    Model,
    /// The model could not; the default persona answers.
    Fallback,
}

/// Who answers, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Routing {
    /// The chosen personas, in the order in which the turn lists their replies.
    pub personas: Vec<PersonaId>,
    /// Which way the decision was made.
    pub source: RoutingSource,
    /// A sentence for people.
    pub reason: String,
}

/// Tokens as the model counted them; absent where it did not say, never a made-up zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Both, where both are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_tokens: Option<u64>,
}

impl Usage {
    /// Adds what is known of both; a part that one of them does not know counts as absent there, not as zero tokens.
    pub fn sum(all: impl IntoIterator<Item = Self>) -> Option<Self> {
        let add = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (known, None) | (None, known) => known,
        };
        all.into_iter().reduce(|a, b| Self {
            input_tokens: add(a.input_tokens, b.input_tokens),
            output_tokens: add(a.output_tokens, b.output_tokens),
            total_tokens: add(a.total_tokens, b.total_tokens),
        })
    }
}

/// The conversation a turn belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConversationRef {
    /// Its id.
    pub id: ConversationId,
    /// Whether this turn is its first.
    pub created: bool,
}

/// One persona's part of a turn, so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// Who speaks.
    pub persona: PersonaId,
    /// How far it is.
    pub status: ReplyStatus,
    /// Its message in the conversation, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// What was said so far.
    pub content: String,
    /// Why the model stopped; the model's own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// The model that answered, as it names itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What it cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

impl Reply {
    /// A reply that was chosen and has not started.
    pub fn pending(persona: PersonaId) -> Self {
        Self {
            persona,
            status: ReplyStatus::Pending,
            message_id: None,
            content: String::new(),
            finish_reason: None,
            model: None,
            usage: None,
            error: None,
        }
    }
}

/// A turn as a client reads it: the fold of its log (`Turn` of `wire.md`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// The newest event this view contains.
    pub last_event_id: EventId,
    /// What the user said.
    pub message: Message,
    /// Who was chosen, once decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<Routing>,
    /// One entry for each chosen persona, in the order of `routing.personas`.
    pub replies: Vec<Reply>,
    /// The sum over all replies, once ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Why the whole turn failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// Why it was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_reason: Option<CancelReason>,
    /// Said while what is needed could not be read or written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub degraded: bool,
    /// What the caller attached; echoed, never logged, never sent to a model.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}
