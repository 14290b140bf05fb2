//! What callers send.

use std::collections::BTreeMap;

use poem_openapi::Object;

use super::scalars::{MetadataValue, OnBusy, Role};
use crate::words::{ConversationId, PersonaId};

/// A message that wants answers. Only `message` is required; unknown members are refused.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct ChatRequest {
    /// What the user says; not only white space. `@name` asks a persona by its id or one of its aliases.
    #[oai(validator(min_length = 1, max_length = 32768, pattern = r"\S"))]
    pub message: String,
    /// The conversation to go on with; without it the server begins a new one.
    pub conversation_id: Option<ConversationId>,
    /// The personas that answer, each named once, at most as many as the server allows (5 unless set otherwise);
    /// without it the server chooses.
    #[oai(validator(unique_items))]
    pub personas: Option<Vec<PersonaId>>,
    /// What happens when the conversation is answering another message: `reject` (the default) refuses this one;
    /// `interrupt` cancels the running turn, keeps what was said, and runs this one.
    pub on_busy: Option<OnBusy>,
    /// Up to 16 pairs, keys of 1 to 64 characters; echoed, never logged, never sent to a model.
    #[oai(validator(max_properties = 16))]
    pub metadata: Option<BTreeMap<String, MetadataValue>>,
}

/// A message to be kept without asking for answers; unknown members are refused.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct AddMessage {
    /// Who said it.
    pub role: Role,
    /// Which persona; only with the role `assistant`.
    pub persona: Option<PersonaId>,
    /// The text; not only white space.
    #[oai(validator(min_length = 1, max_length = 32768, pattern = r"\S"))]
    pub content: String,
}
