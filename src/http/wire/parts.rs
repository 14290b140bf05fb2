//! Requests, turns, conversations, personas.

use std::collections::HashMap;

use poem_openapi::{Enum, Object};

/// What happens when the conversation is answering another message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum OnBusy {
    /// The request is refused (409) with the running turn's id.
    Reject,
    /// The running turn is cancelled, what was said is kept, and this message is answered.
    Interrupt,
}

/// A message that wants answers.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct ChatRequest {
    /// What the user says; not only white space. `@name` asks a persona.
    #[oai(validator(min_length = 1, max_length = 32768))]
    pub message: String,
    /// Where it is said; a new conversation if absent.
    #[oai(validator(pattern = "^[A-Za-z0-9_-]{1,64}$"))]
    pub conversation_id: Option<String>,
    /// Who answers; left to routing if absent or empty.
    #[oai(validator(max_items = 64))]
    pub personas: Option<Vec<String>>,
    /// What happens when the conversation is busy; `reject` if absent.
    pub on_busy: Option<OnBusy>,
    /// Up to 16 pairs of strings; echoed in the turn, never logged, never sent to a model.
    pub metadata: Option<HashMap<String, String>>,
}

/// Who said a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum Role {
    /// The user.
    User,
    /// A persona, or an answer that the caller brought along.
    Assistant,
}

/// A message to be kept without asking for answers.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct NewMessage {
    /// Who said it.
    pub role: Role,
    /// The text; not only white space.
    #[oai(validator(min_length = 1, max_length = 32768))]
    pub content: String,
    /// Which persona, for what a persona said.
    #[oai(validator(pattern = "^[a-z0-9_-]{1,64}$"))]
    pub persona: Option<String>,
}

/// One thing said in a conversation.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct Message {
    /// Its id; messages sort by it.
    pub id: String,
    /// Who said it.
    pub role: Role,
    /// Which persona, for what a persona said.
    pub persona: Option<String>,
    /// The text.
    pub content: String,
    /// When it was said (RFC 3339, UTC).
    pub created_at: Option<String>,
    /// True where a cancel cut it short.
    pub cancelled: Option<bool>,
}

/// A page of messages.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields)]
pub struct MessagePage {
    /// The messages, in the order asked for.
    pub data: Vec<Message>,
    /// Whether there are more in that direction.
    pub has_more: bool,
}

/// A conversation as a page needs it after a reload.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct Conversation {
    /// Its id.
    pub id: String,
    /// When its first message was kept (RFC 3339, UTC).
    pub created_at: String,
    /// When its newest was.
    pub updated_at: String,
    /// How many messages are kept.
    pub message_count: u64,
    /// The turn it is answering; absent when it is idle.
    pub active_turn_id: Option<String>,
}

/// The conversation a turn belongs to.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields)]
pub struct ConversationRef {
    /// Its id.
    pub id: String,
    /// Whether the turn is its first.
    pub created: bool,
}

/// Who answers, and why.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields)]
pub struct Routing {
    /// The chosen personas, in the order in which the turn lists their replies.
    pub personas: Vec<String>,
    /// Which way the decision was made. The server may add to these.
    pub source: String,
    /// A sentence for people.
    pub reason: String,
}

/// Tokens as the model counted them; absent where it did not say.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct Usage {
    /// Tokens of the prompt.
    pub input_tokens: Option<u64>,
    /// Tokens of the answer.
    pub output_tokens: Option<u64>,
    /// Both.
    pub total_tokens: Option<u64>,
}

/// How far a turn is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum TurnStatus {
    /// Some reply is still to come.
    Running,
    /// At least one reply completed.
    Completed,
    /// No reply completed, and none was cancelled.
    Failed,
    /// It was cancelled before its last reply ended.
    Cancelled,
}

/// How far one persona's part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum ReplyStatus {
    /// Chosen, not started.
    Pending,
    /// Being written.
    Running,
    /// Ended with a finish reason.
    Completed,
    /// Ended with an error.
    Failed,
    /// Cut short.
    Cancelled,
}

/// Why a reply or a turn failed: the members that every problem has.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct Failure {
    /// Where the kind of error is described.
    #[oai(rename = "type")]
    pub kind: String,
    /// A short sentence, the same for every occurrence.
    pub title: String,
    /// The HTTP status that goes with it.
    pub status: u16,
    /// The kind of error. The server may add to these.
    pub code: String,
    /// A sentence about this occurrence.
    pub detail: String,
    /// When trying again makes sense.
    pub retry_after_ms: Option<u64>,
}

/// One persona's part of a turn.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct Reply {
    /// Who speaks.
    pub persona: String,
    /// How far it is.
    pub status: ReplyStatus,
    /// Its message in the conversation, once there is one.
    pub message_id: Option<String>,
    /// What was said so far.
    pub content: String,
    /// Why the model stopped, in its own word.
    pub finish_reason: Option<String>,
    /// The model that answered, as it names itself.
    pub model: Option<String>,
    /// What it cost.
    pub usage: Option<Usage>,
    /// Why it failed.
    pub error: Option<Failure>,
}

/// One user message and everything that answers it.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct Turn {
    /// Its id.
    pub turn_id: String,
    /// Where it belongs.
    pub conversation: ConversationRef,
    /// How far it is.
    pub status: TurnStatus,
    /// When it was accepted (RFC 3339, UTC).
    pub created_at: String,
    /// When it ended.
    pub ended_at: Option<String>,
    /// The newest event that this view contains; streaming can go on from here.
    pub last_event_id: String,
    /// What the user said.
    pub message: Message,
    /// Who was chosen, once decided.
    pub routing: Option<Routing>,
    /// One entry for each chosen persona, in the order of `routing.personas`.
    pub replies: Vec<Reply>,
    /// The sum over all replies, once ended.
    pub usage: Option<Usage>,
    /// Why the whole turn failed.
    pub error: Option<Failure>,
    /// Why it was cancelled. The server may add to these.
    pub cancel_reason: Option<String>,
    /// True where it began while shared state could not be reached.
    pub degraded: Option<bool>,
    /// What the caller attached.
    pub metadata: Option<HashMap<String, String>>,
}

/// Someone who can be asked.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields)]
pub struct Persona {
    /// What requests and `@` mentions call it.
    pub id: String,
    /// What people read.
    pub name: String,
    /// What it is good at.
    pub description: String,
    /// More names for `@` mentions.
    pub aliases: Vec<String>,
}

/// Everyone who can be asked.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields)]
pub struct PersonaList {
    /// In the order of the configuration; the default persona is usually the first.
    pub data: Vec<Persona>,
}
