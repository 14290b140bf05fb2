//! The product: turns, their flow, routing, personas. The only place with rules.

mod error;
mod request;

use std::sync::Arc;

pub use error::ChatError;
pub use request::{AddMessage, Caller, ChatRequest, IdempotencyKey, MessageOrder, OnBusy, PageQuery};

use crate::words::{ConversationId, Event, EventId, Message, PersonaId, Timestamp, Turn, TurnId};

/// A turn that was started, or found again by its idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// The turn.
    pub turn: TurnId,
    /// Whether it was started by an earlier request with the same key.
    pub replayed: bool,
}

/// A persona as callers may see it: never its system prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonaView {
    /// Its id.
    pub id: PersonaId,
    /// Its name.
    pub name: String,
    /// What it is good at.
    pub description: String,
    /// Other names that `@` mentions may use.
    pub aliases: Vec<String>,
}

/// A conversation as a page needs it after a reload.
#[derive(Clone, Debug, PartialEq)]
pub struct ConversationView {
    /// Its id.
    pub id: ConversationId,
    /// When its first message was kept.
    pub created_at: Timestamp,
    /// When its newest was.
    pub updated_at: Timestamp,
    /// How many messages are kept.
    pub message_count: usize,
    /// The turn it is answering.
    pub active_turn_id: Option<TurnId>,
}

/// A page of messages.
#[derive(Clone, Debug, PartialEq)]
pub struct MessagePage {
    /// In the order asked for.
    pub data: Vec<Message>,
    /// Whether there are more in that direction.
    pub has_more: bool,
}

/// What became of a cancel.
#[derive(Clone, Debug, PartialEq)]
pub struct Cancelled {
    /// The turn as it stands.
    pub turn: Turn,
    /// Whether it has ended; otherwise the cancel takes effect within 2 s.
    pub ended: bool,
}

/// A position in a turn's log that moves forward. Serving it costs the turn nothing: nothing is queued for it.
#[derive(Debug)]
pub struct Reader {
    turn: TurnId,
}

impl Reader {
    /// The turn it reads.
    pub fn turn(&self) -> TurnId {
        self.turn
    }

    /// The next event, waiting for it; `None` after the terminal one. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Arc<Event>>, ChatError> {
        Ok(None)
    }
}

/// The chat service: everything a door can ask for.
#[derive(Debug)]
pub struct Chat {}

impl Chat {
    /// Starts a turn, or finds the one that the same idempotency key started. Nothing is lost from here on.
    pub async fn start(&self, _caller: &Caller, _request: ChatRequest) -> Result<Started, ChatError> {
        Err(ChatError::Draining)
    }

    /// The turn as it stands.
    pub async fn turn(&self, _caller: &Caller, _turn: TurnId) -> Result<Turn, ChatError> {
        Err(ChatError::TurnNotFound)
    }

    /// Reads the turn's events after `after`; `None` when that was the terminal one and nothing will follow.
    pub async fn follow(
        &self,
        _caller: &Caller,
        _turn: TurnId,
        _after: Option<EventId>,
    ) -> Result<Option<Reader>, ChatError> {
        Err(ChatError::TurnNotFound)
    }

    /// Waits until the turn has ended, as one of its readers, and returns it.
    pub async fn wait(&self, _caller: &Caller, _turn: TurnId) -> Result<Turn, ChatError> {
        Err(ChatError::TurnNotFound)
    }

    /// Asks for the turn's end, and waits for it for at most 2 s. Idempotent.
    pub async fn cancel(&self, _caller: &Caller, _turn: TurnId) -> Result<Cancelled, ChatError> {
        Err(ChatError::TurnNotFound)
    }

    /// What a page needs after a reload.
    pub async fn conversation(
        &self,
        _caller: &Caller,
        _id: &ConversationId,
    ) -> Result<ConversationView, ChatError> {
        Err(ChatError::ConversationNotFound)
    }

    /// A page of the conversation's messages.
    pub async fn messages(
        &self,
        _caller: &Caller,
        _id: &ConversationId,
        _page: PageQuery,
    ) -> Result<MessagePage, ChatError> {
        Err(ChatError::ConversationNotFound)
    }

    /// Adds a message without asking for answers; refused while a turn runs.
    pub async fn add_message(
        &self,
        _caller: &Caller,
        _id: &ConversationId,
        _message: AddMessage,
    ) -> Result<Message, ChatError> {
        Err(ChatError::ConversationNotFound)
    }

    /// Forgets the conversation for good and cancels its running turn; also when there was none.
    pub async fn forget(&self, _caller: &Caller, _id: &ConversationId) -> Result<(), ChatError> {
        Ok(())
    }

    /// Who can be asked.
    pub fn personas(&self) -> Vec<PersonaView> {
        Vec::new()
    }

    /// One persona.
    pub fn persona(&self, _id: &PersonaId) -> Result<PersonaView, ChatError> {
        Err(ChatError::PersonaNotFound)
    }
}
