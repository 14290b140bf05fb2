//! What the shelter needs of the memory that replicas share, beyond what a caller sees of it.

use std::error::Error;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::memory::{History, ListingItem, ListingPlace, MemoryUnavailable};
use crate::redis::Resync;
use crate::words::{ConversationKey, Message, MessageId, PrincipalHash, Timestamp};

/// Messages of one turn, on their way.
#[derive(Clone, Debug)]
pub struct Portion {
    /// In the order of their ids.
    pub messages: Vec<Message>,
    /// Whether the turn has ended: its replies are then written all or none.
    pub whole: bool,
    /// When the conversation's first message was kept, as far as the sender knows.
    pub created_at: Timestamp,
    /// When its newest was.
    pub updated_at: Timestamp,
    /// Whether older messages had to go before.
    pub cut: bool,
}

impl Portion {
    /// Messages said just now.
    pub fn said(messages: &[Message], whole: bool, now: Timestamp) -> Self {
        Self { messages: messages.to_vec(), whole, created_at: now, updated_at: now, cut: false }
    }
}

/// What became of a portion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    /// So many messages were new.
    Written(usize),
    /// All were known.
    Known,
    /// The turn is there with other replies; nothing was written.
    Other,
    /// All are at or below the mark.
    Cleared,
}

/// A portion's fate, and up to where the conversation was forgotten.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// What became of it.
    pub became: Became,
    /// Up to where the conversation was forgotten.
    pub mark: Option<MessageId>,
}

/// A conversation as all replicas share it.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Up to where it was forgotten.
    pub mark: Option<MessageId>,
    /// What is kept of it.
    pub history: Option<History>,
}

/// A part of the list of forgotten conversations.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// The place of its last entry; empty in an empty list.
    pub place: String,
    /// What was forgotten, and up to where.
    pub forgotten: Vec<(ConversationKey, MessageId)>,
}

/// Why the shared memory was of no use.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// It cannot be asked now.
    #[error("the shared memory cannot be asked")]
    Away(#[source] Box<dyn Error + Send + Sync>),
    /// It could be asked, and something about this conversation is wrong.
    #[error("the shared memory refused")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
}

impl From<Failed> for MemoryUnavailable {
    fn from(failed: Failed) -> Self {
        Self(failed.into())
    }
}

/// A memory that replicas share. It may be away, and come back with less than it confirmed.
#[async_trait]
pub trait SharedMemory: Send + Sync + 'static {
    /// The time on which all replicas agree.
    fn now(&self) -> Timestamp;

    /// Whether calls are let through at this moment.
    fn is_reachable(&self) -> bool;

    /// Tells when confirmed messages may be missing.
    fn resync(&self) -> watch::Receiver<Resync>;

    /// Writes messages of one turn.
    async fn write(&self, conversation: &ConversationKey, portion: &Portion) -> Result<Answer, Failed>;

    /// Reads what is kept.
    async fn read(&self, conversation: &ConversationKey) -> Result<Found, Failed>;

    /// Forgets everything up to a message; answers whether there was anything, and the mark that counts.
    async fn forget(
        &self,
        conversation: &ConversationKey,
        up_to: MessageId,
    ) -> Result<(bool, MessageId), Failed>;

    /// Puts a conversation that was spoken in at this moment into its owner's list. The list is an index only: it may name
    /// what is gone, and miss for a while what is there. Nobody's conversations are in none.
    async fn enlist(&self, conversation: &ConversationKey, updated_at: Timestamp) -> Result<(), Failed>;

    /// A principal's list, the conversations that were spoken in last, in no order.
    async fn listed(&self, of: PrincipalHash) -> Result<Vec<ListingPlace>, Failed>;

    /// Takes conversations from a list, unless they were spoken in after these moments.
    async fn strike(&self, of: PrincipalHash, gone: &[ListingPlace]) -> Result<(), Failed>;

    /// What a list says of a conversation; looking is no use of it.
    async fn peek(&self, conversation: &ConversationKey) -> Result<Option<ListingItem>, Failed>;

    /// Tells all replicas that something was forgotten.
    async fn tell(&self, conversation: &ConversationKey, mark: MessageId) -> Result<(), Failed>;

    /// The end of the list of forgotten conversations.
    async fn newest_news(&self) -> Result<News, Failed>;

    /// What follows a place in that list, oldest first, a bounded number of entries; the same place at its end.
    async fn news_after(&self, place: &str) -> Result<News, Failed>;
}
