//! Conversations: what was said, kept for a while (`state.md` §6).

mod conversation;
mod listing;
mod local;
mod measured;
mod recent;
mod redis;
mod shelter;

pub use self::redis::RedisMemory;
use async_trait::async_trait;
pub use listing::{Listing, ListingItem, ListingPlace, ListingQuery};
pub use local::LocalMemory;
pub use measured::Measured;
pub use shelter::{SharedMemory, ShelteredMemory};

use crate::words::{ConversationKey, Message, MessageId, PrincipalHash, Role, Timestamp};

/// A conversation as it is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// The newest messages (at most `memory.max_messages`), oldest first.
    pub messages: Vec<Message>,
    /// When the conversation's first message was kept.
    pub created_at: Option<Timestamp>,
    /// When the newest was.
    pub updated_at: Option<Timestamp>,
    /// Whether older messages had to go.
    pub cut: bool,
}

impl History {
    /// When the conversation's first message was kept, as far as that is known.
    pub fn created(&self) -> Timestamp {
        self.created_at.unwrap_or_else(|| said(self.messages.first()))
    }

    /// When the newest was.
    pub fn updated(&self) -> Timestamp {
        self.updated_at.unwrap_or_else(|| said(self.messages.last()))
    }

    /// What a model is given: everything, but never a reply at the start whose question had to go.
    pub fn for_model(&self) -> &[Message] {
        let first = if self.cut {
            self.messages.iter().position(|message| message.role == Role::User).unwrap_or(self.messages.len())
        } else {
            0
        };
        &self.messages[first..]
    }
}

fn said(message: Option<&Message>) -> Timestamp {
    message.map_or_else(Timestamp::now, |message| message.created_at)
}

/// What became of messages handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// So many were new.
    Written(usize),
    /// All were known already.
    Known,
    /// The conversation was forgotten after they were said; they stay forgotten.
    Cleared,
}

/// What is needed cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("the memory is not available")]
pub struct MemoryUnavailable(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Where conversations are kept. Every operation on a conversation renews its time to live.
#[async_trait]
pub trait Memory: Send + Sync + 'static {
    /// Adds messages of one turn (or one message by hand). Writing the same ids again changes nothing; the order is that
    /// of the ids, whatever the order of writing; only the newest `max_messages` are kept.
    async fn add(
        &self,
        conversation: &ConversationKey,
        messages: &[Message],
    ) -> Result<Written, MemoryUnavailable>;

    /// Adds the messages of a turn that has ended, replies and all, or none of them: `Known` if any reply of that turn is
    /// kept already. A turn that was answered twice (`state.md` §5) is so remembered once, the first version whole.
    async fn merge(
        &self,
        conversation: &ConversationKey,
        turn: &[Message],
    ) -> Result<Written, MemoryUnavailable>;

    /// Reads what is kept; `None` for a conversation nobody has spoken in, that was forgotten, or that has expired.
    async fn history(&self, conversation: &ConversationKey) -> Result<Option<History>, MemoryUnavailable>;

    /// Forgets the conversation for good: nothing at or below `up_to` (usually an id of this moment) ever comes back.
    /// Says whether there was anything.
    async fn clear(
        &self,
        conversation: &ConversationKey,
        up_to: MessageId,
    ) -> Result<bool, MemoryUnavailable>;

    /// A principal's conversations, at least the 1,000 that were spoken in last. To be listed is no use of them. While
    /// replicas cannot agree it is only what this one knows, and says so.
    async fn list(&self, of: PrincipalHash, query: &ListingQuery) -> Result<Listing, MemoryUnavailable>;
}
