//! Conversations, their messages, and who can be asked.

use poem_openapi::Object;
use serde::Serialize;

use super::scalars::Role;
use crate::chat::{ConversationView, Listing, ListingItem, ListingPlace, PersonaView};
use crate::words::{ConversationId, MessageId, PersonaId, Timestamp, TurnId};

/// One thing said in a conversation.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct Message {
    /// Its id; ids sort by time.
    pub id: MessageId,
    /// Who said it.
    pub role: Role,
    /// Which persona, for what a persona said.
    pub persona: Option<PersonaId>,
    /// The text.
    pub content: String,
    /// When it was said.
    pub created_at: Timestamp,
    /// Whether a cancel cut it short.
    pub cancelled: Option<bool>,
}

/// A page of a conversation's messages.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct MessagePage {
    /// The messages, in the order asked for.
    pub data: Vec<Message>,
    /// Whether there are more in that direction.
    pub has_more: bool,
}

/// A conversation as a page needs it after a reload.
#[derive(Debug, Object, Serialize)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// When its first message was kept.
    pub created_at: Timestamp,
    /// When its newest was.
    pub updated_at: Timestamp,
    /// How many messages are kept.
    pub message_count: u64,
    /// The turn it is answering; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_turn_id: Option<TurnId>,
}

impl From<ConversationView> for Conversation {
    fn from(view: ConversationView) -> Self {
        let ConversationView { id, created_at, updated_at, message_count, active_turn_id } = view;
        Self { id, created_at, updated_at, message_count: message_count as u64, active_turn_id }
    }
}

/// One of the caller's conversations.
#[derive(Debug, Object, Serialize)]
#[oai(deny_unknown_fields)]
pub struct ConversationSummary {
    /// Its id.
    pub id: ConversationId,
    /// When its first message was kept.
    pub created_at: Timestamp,
    /// When its newest was.
    pub updated_at: Timestamp,
    /// How many messages are kept.
    pub message_count: u64,
}

impl From<ListingItem> for ConversationSummary {
    fn from(item: ListingItem) -> Self {
        let ListingItem { id, created_at, updated_at, message_count } = item;
        Self { id, created_at, updated_at, message_count: message_count as u64 }
    }
}

/// A page of the caller's conversations.
#[derive(Debug, Object, Serialize)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct ConversationPage {
    /// The conversations, the one with the newest message first.
    pub data: Vec<ConversationSummary>,
    /// Whether there are more.
    pub has_more: bool,
    /// What `after` has to be to read on; there if there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<ListingPlace>,
    /// There, and true, while shared state cannot be reached: conversations held elsewhere are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub degraded: Option<bool>,
}

impl From<Listing> for ConversationPage {
    fn from(listing: Listing) -> Self {
        let Listing { items, next, degraded } = listing;
        let data = items.into_iter().map(ConversationSummary::from).collect();
        Self { data, has_more: next.is_some(), next, degraded: degraded.then_some(true) }
    }
}

/// Somebody who can be asked.
#[derive(Debug, Object, Serialize)]
#[oai(deny_unknown_fields)]
pub struct Persona {
    /// Its id, for `personas` of a request and after `@` in a message.
    pub id: PersonaId,
    /// Its name.
    pub name: String,
    /// What it is good at.
    pub description: String,
    /// Other names that `@` mentions may use.
    pub aliases: Vec<String>,
}

impl From<PersonaView> for Persona {
    fn from(view: PersonaView) -> Self {
        let PersonaView { id, name, description, aliases } = view;
        Self { id, name, description, aliases }
    }
}

/// Who can be asked.
#[derive(Debug, Object, Serialize)]
#[oai(deny_unknown_fields)]
pub struct PersonaList {
    /// All personas, in the order of the configuration.
    pub data: Vec<Persona>,
}
