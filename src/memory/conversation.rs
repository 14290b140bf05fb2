//! What is kept of one conversation in this process.

use super::History;
use crate::words::{Message, MessageId, Role, Timestamp};

/// What a conversation costs beside its messages, in bytes, roughly: its id, its places in two maps, its times.
pub(super) const CONVERSATION_BYTES: usize = 400;

/// What is kept of one conversation, and what its messages cost.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) history: History,
    pub(super) bytes: usize,
}

impl Conversation {
    /// Adds what is new, in the order of the ids, and cuts what is too much; answers which of the new ones stayed.
    pub(super) fn add(&mut self, messages: Vec<&Message>, most: usize, at: Timestamp) -> Vec<MessageId> {
        let kept = &mut self.history.messages;
        let mut new = Vec::new();
        for message in messages {
            if let Err(place) = kept.binary_search_by_key(&message.id, |kept| kept.id) {
                kept.insert(place, message.clone());
                new.push(message.id);
            }
        }
        self.cut(most);
        let oldest = self.history.messages.first().map(|message| message.id);
        new.retain(|id| oldest.is_some_and(|oldest| *id >= oldest));
        if !new.is_empty() {
            self.history.created_at.get_or_insert(at);
            self.history.updated_at = Some(at);
        }
        self.weigh();
        new
    }

    /// Drops everything up to this message; says whether there was anything.
    pub(super) fn forget(&mut self, up_to: MessageId) -> bool {
        let before = self.history.messages.len();
        self.history.messages.retain(|message| message.id > up_to);
        self.weigh();
        let forgotten = self.history.messages.len() < before;
        self.history.cut |= forgotten;
        forgotten
    }

    /// Whether a reply of this turn is kept.
    pub(super) fn has_reply_of(&self, turn: &[Message]) -> bool {
        let told = |kept: &Message| {
            kept.role == Role::Assistant && turn.iter().any(|message| turn_of(message.id) == turn_of(kept.id))
        };
        self.history.messages.iter().any(told)
    }

    /// Drops the oldest of too many.
    pub(super) fn cut(&mut self, most: usize) {
        let too_many = self.history.messages.len().saturating_sub(most);
        self.history.cut |= too_many > 0;
        self.history.messages.drain(..too_many);
    }

    pub(super) fn weigh(&mut self) {
        self.bytes = self.history.messages.iter().map(bytes_of).sum();
    }
}

/// What a message costs, in bytes, roughly; a persona's name is shared.
fn bytes_of(message: &Message) -> usize {
    size_of::<Message>() + message.content.len()
}

/// What the ids of one turn's messages have in common: its ULID's lowest byte is left for numbering them.
pub(super) fn turn_of(id: MessageId) -> u128 {
    id.0.0 >> 8
}
