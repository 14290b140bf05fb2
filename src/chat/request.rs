//! What callers ask for, already checked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::telemetry::metrics::Transport;
use crate::words::{
    AllowedPersonas, ConversationId, ConversationKey, Invalid, MessageId, PersonaId, Principal, Realm,
    RequestId, Role,
};

/// Who asks, and through which door.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Whose limits, places, turns and idempotency keys count.
    pub principal: Principal,
    /// Whom they may ask; to this caller no other persona exists.
    pub personas: AllowedPersonas,
    /// Ties everything that follows together.
    pub request_id: RequestId,
    /// The door.
    pub transport: Transport,
    /// When the request came in; times to first token count from here.
    pub arrived: Instant,
    /// Makes a repetition find the same turn.
    pub idempotency_key: Option<IdempotencyKey>,
}

impl Caller {
    /// What the caller means by this id: nobody else means the same by it, unless neither said who they are.
    pub fn conversation(&self, id: &ConversationId) -> ConversationKey {
        ConversationKey::of(&self.principal, id)
    }

    /// Where everything of the caller is.
    pub fn realm(&self) -> Realm {
        Realm::of(&self.principal)
    }
}

/// 1 to 255 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key that a socket's `ref` stands for. Apart from every key that comes as `Idempotency-Key`, which has visible
    /// characters only.
    pub fn of_reference(reference: &str) -> Self {
        Self(format!("ref {reference}"))
    }
}

impl TryFrom<&str> for IdempotencyKey {
    type Error = Invalid;
    /// Takes the key with or without the quotes that structured fields want; one quote alone is none.
    fn try_from(text: &str) -> Result<Self, Invalid> {
        let bare = match text.strip_prefix('"') {
            Some(quoted) => quoted.strip_suffix('"').unwrap_or_default(),
            None => text,
        };
        let right = (1..=255).contains(&bare.len()) && bare.bytes().all(|b| b.is_ascii_graphic());
        right.then(|| Self(bare.to_owned())).ok_or(Invalid("must have 1 to 255 visible ASCII characters"))
    }
}

/// What happens when the conversation is answering another message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBusy {
    /// Refused, with the running turn's id.
    #[default]
    Reject,
    /// The running turn is cancelled; what was said is kept; this one runs.
    Interrupt,
}

/// A message that wants answers. Checked: the message has 1 to 32,768 code points and not only white space, personas are
/// at most `turns.max_personas` and each named once, metadata has at most 16 pairs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    /// What the user says.
    pub message: String,
    /// Where; a new conversation if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<ConversationId>,
    /// Who answers; empty leaves it to routing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub personas: Vec<PersonaId>,
    /// What happens when the conversation is busy.
    #[serde(default)]
    pub on_busy: OnBusy,
    /// Echoed, never logged, never sent to a model.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// A message to be kept without asking for answers.
#[derive(Clone, Debug, PartialEq)]
pub struct AddMessage {
    /// Who said it.
    pub role: Role,
    /// Which persona, for what a persona said.
    pub persona: Option<PersonaId>,
    /// The text; bounds as for a chat request's message.
    pub content: String,
}

/// In which order messages are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MessageOrder {
    /// Oldest first.
    #[default]
    Ascending,
    /// Newest first.
    Descending,
}

/// Which part of a conversation is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageQuery {
    /// At most so many (1 to 100).
    pub limit: usize,
    /// Only messages before this one.
    pub before: Option<MessageId>,
    /// Only messages after this one.
    pub after: Option<MessageId>,
    /// In which order.
    pub order: MessageOrder,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzz_idempotency_keys() {
        crate::fuzz::run("idempotency_keys", |bytes| {
            let Ok(text) = std::str::from_utf8(bytes) else { return };
            let Ok(key) = IdempotencyKey::try_from(text) else { return };
            assert!(
                (1..=255).contains(&key.as_str().len()) && key.as_str().bytes().all(|b| b.is_ascii_graphic())
            );
            let quoted = format!("\"{}\"", key.as_str());
            assert_eq!(IdempotencyKey::try_from(quoted.as_str()).unwrap(), key);
        });
    }
}
