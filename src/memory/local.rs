//! Conversations kept in this process.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::time::Instant;

use super::conversation::{CONVERSATION_BYTES, Conversation};
use super::recent::Recent;
use super::{History, Listing, ListingItem, ListingQuery, Memory, MemoryUnavailable, Written};
use crate::config;
use crate::telemetry::metrics::{Backend, Metrics};
use crate::words::{ConversationKey, Message, MessageId, PrincipalHash, Realm, Timestamp};

/// Conversations kept in this process, bounded by their number and their bytes. When there are too many, the one used
/// longest ago goes first; the one in use never does.
#[derive(Debug)]
pub struct LocalMemory {
    kept: Mutex<Kept>,
    metrics: Arc<Metrics>,
}

impl LocalMemory {
    /// Nothing has been said.
    pub fn new(settings: &config::Memory, metrics: Arc<Metrics>) -> Self {
        let kept = Kept {
            conversations: Recent::new(*settings.ttl),
            marks: Recent::new(*settings.ttl),
            bytes: 0,
            most_messages: settings.max_messages.get(),
            most_conversations: settings.max_conversations.get(),
            most_bytes: settings.max_bytes.0,
        };
        Self { kept: Mutex::new(kept), metrics }
    }

    fn with<R>(&self, work: impl FnOnce(&mut Kept, Instant) -> R) -> R {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let result = work(&mut kept, now);
        kept.tidy(now);
        let conversations = i64::try_from(kept.conversations.len()).unwrap_or(i64::MAX);
        self.metrics.memory.conversations.set(&(Backend::Local,), conversations);
        result
    }
}

#[async_trait]
impl Memory for LocalMemory {
    async fn add(
        &self,
        conversation: &ConversationKey,
        messages: &[Message],
    ) -> Result<Written, MemoryUnavailable> {
        Ok(self.with(|kept, now| kept.add(conversation, messages, now)))
    }

    async fn merge(
        &self,
        conversation: &ConversationKey,
        turn: &[Message],
    ) -> Result<Written, MemoryUnavailable> {
        Ok(self.with(|kept, now| kept.merge(conversation, turn, now)))
    }

    async fn history(&self, conversation: &ConversationKey) -> Result<Option<History>, MemoryUnavailable> {
        Ok(self.with(|kept, now| kept.history(conversation, now).cloned()))
    }

    async fn clear(
        &self,
        conversation: &ConversationKey,
        up_to: MessageId,
    ) -> Result<bool, MemoryUnavailable> {
        Ok(self.with(|kept, now| kept.clear(conversation, up_to, now)))
    }

    async fn list(&self, of: PrincipalHash, query: &ListingQuery) -> Result<Listing, MemoryUnavailable> {
        Ok(Listing::part(self.with(|kept, now| kept.list(of, now)), query))
    }
}

#[derive(Debug)]
struct Kept {
    conversations: Recent<ConversationKey, Conversation>,
    /// Up to which message a conversation was forgotten. Apart from the conversations, so that forgetting many pushes
    /// out none that is in use.
    marks: Recent<ConversationKey, MessageId>,
    bytes: usize,
    most_messages: usize,
    most_conversations: usize,
    most_bytes: usize,
}

impl Kept {
    fn add(&mut self, id: &ConversationKey, messages: &[Message], now: Instant) -> Written {
        let (mark, known) = self.look(id, now);
        let above = |message: &&Message| mark.is_none_or(|mark| message.id > mark);
        let sayable: Vec<&Message> = messages.iter().filter(above).collect();
        if sayable.is_empty() {
            return if messages.is_empty() { Written::Known } else { Written::Cleared };
        }
        if !known {
            self.remove(id); // one that has expired may still be there
            self.conversations.put(id.clone(), Conversation::default(), now);
            self.bytes += CONVERSATION_BYTES;
        }
        let (most, at) = (self.most_messages, Timestamp::now());
        match self.change(id, now, |conversation| conversation.add(sayable, most, at).len()) {
            Some(written) if written > 0 => Written::Written(written),
            Some(_) | None => Written::Known,
        }
    }

    fn merge(&mut self, id: &ConversationKey, turn: &[Message], now: Instant) -> Written {
        self.look(id, now);
        match self.conversations.get(id, now) {
            Some(conversation) if conversation.has_reply_of(turn) => Written::Known,
            Some(_) | None => self.add(id, turn, now),
        }
    }

    fn history(&mut self, id: &ConversationKey, now: Instant) -> Option<&History> {
        self.look(id, now);
        self.conversations.get(id, now).map(|conversation| &conversation.history)
    }

    fn clear(&mut self, id: &ConversationKey, up_to: MessageId, now: Instant) -> bool {
        let (mark, _) = self.look(id, now);
        let up_to = mark.map_or(up_to, |mark| mark.max(up_to));
        self.marks.put(id.clone(), up_to, now);

        let forgotten = self.change(id, now, |conversation| conversation.forget(up_to)).unwrap_or(false);
        if self.history(id, now).is_some_and(|history| history.messages.is_empty()) {
            self.remove(id);
        }
        forgotten
    }

    fn list(&self, of: PrincipalHash, now: Instant) -> Vec<ListingItem> {
        let own = self.conversations.keys().filter(|key| key.realm() == Realm::Own(of));
        let item = |key: &ConversationKey| {
            let kept = self.conversations.peek(key, now)?;
            Some(ListingItem::of(key.id().clone(), &kept.history))
        };
        own.filter_map(item).collect()
    }

    /// Up to where the conversation was forgotten, and whether any of it is kept. Looking renews both.
    fn look(&mut self, id: &ConversationKey, now: Instant) -> (Option<MessageId>, bool) {
        (self.marks.get(id, now).copied(), self.conversations.get(id, now).is_some())
    }

    fn change<R>(
        &mut self,
        id: &ConversationKey,
        now: Instant,
        work: impl FnOnce(&mut Conversation) -> R,
    ) -> Option<R> {
        let conversation = self.conversations.get(id, now)?;
        let before = conversation.bytes;
        let result = work(conversation);
        self.bytes = (self.bytes + conversation.bytes).saturating_sub(before);
        Some(result)
    }

    fn remove(&mut self, id: &ConversationKey) {
        if let Some(removed) = self.conversations.remove(id) {
            self.no_longer_costs(&removed);
        }
    }

    fn no_longer_costs(&mut self, removed: &Conversation) {
        self.bytes = self.bytes.saturating_sub(CONVERSATION_BYTES + removed.bytes);
    }

    /// Removes what has expired and what is too much.
    fn tidy(&mut self, now: Instant) {
        for expired in self.conversations.remove_expired(now) {
            self.no_longer_costs(&expired);
        }
        while self.is_over_bounds()
            && let Some(oldest) = self.conversations.remove_oldest()
        {
            self.no_longer_costs(&oldest);
        }
        self.marks.remove_expired(now);
        while self.marks.len() > self.most_conversations {
            self.marks.remove_oldest();
        }
    }

    fn is_over_bounds(&self) -> bool {
        let conversations = self.conversations.len();
        conversations > self.most_conversations || (self.bytes > self.most_bytes && conversations > 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{Role, TurnId, new_ulid};

    fn id(text: &str) -> ConversationKey {
        text.parse().unwrap()
    }

    fn said(content: &str) -> Message {
        let turn = TurnId::new(new_ulid(Timestamp::now().as_millis()), &id("any"));
        let (role, created_at) = (Role::User, Timestamp::now());
        let content = content.to_owned();
        Message { id: turn.user_message(), role, persona: None, content, created_at, cancelled: false }
    }

    fn memory(change: impl FnOnce(&mut config::Memory)) -> LocalMemory {
        let mut settings = config::Config::default().memory;
        change(&mut settings);
        LocalMemory::new(&settings, Arc::new(Metrics::new()))
    }

    async fn is_kept(memory: &LocalMemory, conversation: &str) -> bool {
        memory.history(&id(conversation)).await.unwrap().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn one_conversation_too_many_pushes_out_the_one_used_longest_ago() {
        let memory = memory(|settings| settings.max_conversations = 2.try_into().unwrap());
        memory.add(&id("a"), &[said("1")]).await.unwrap();
        memory.add(&id("b"), &[said("2")]).await.unwrap();
        assert!(is_kept(&memory, "a").await, "nothing goes while there is room");

        memory.add(&id("c"), &[said("3")]).await.unwrap();

        assert!(!is_kept(&memory, "b").await);
        assert!(is_kept(&memory, "a").await);
        assert!(is_kept(&memory, "c").await);
        assert_eq!(memory.metrics.memory.conversations.get(&(Backend::Local,)), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_bytes_push_out_what_was_used_longest_ago_but_never_what_is_in_use() {
        let memory = memory(|settings| settings.max_bytes = config::Bytes(10_000));
        memory.add(&id("a"), &[said(&"a".repeat(4000))]).await.unwrap();
        memory.add(&id("b"), &[said(&"b".repeat(4000))]).await.unwrap();

        memory.add(&id("c"), &[said(&"c".repeat(4000))]).await.unwrap();
        assert!(!is_kept(&memory, "a").await);
        assert!(is_kept(&memory, "b").await);

        memory.add(&id("d"), &[said(&"d".repeat(40_000))]).await.unwrap();
        assert!(is_kept(&memory, "d").await);
        assert!(!is_kept(&memory, "b").await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_gone_costs_nothing() {
        let memory = memory(|settings| settings.max_messages = 3.try_into().unwrap());
        for n in 0..200 {
            let name = format!("conversation-{}", n % 20);
            memory.add(&id(&name), &[said("one"), said("two"), said("three")]).await.unwrap();
            if n % 3 == 0 {
                let now = MessageId(new_ulid(Timestamp::now().as_millis() + 1));
                memory.clear(&id(&name), now).await.unwrap();
            }
        }
        tokio::time::advance(std::time::Duration::from_secs(3600)).await;
        assert!(!is_kept(&memory, "conversation-1").await);

        let kept = memory.kept.lock().unwrap();
        assert_eq!((kept.bytes, kept.conversations.len(), kept.marks.len()), (0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn forgetting_many_conversations_pushes_out_none_that_is_in_use() {
        let memory = memory(|settings| settings.max_conversations = 10.try_into().unwrap());
        memory.add(&id("kept"), &[said("still here")]).await.unwrap();
        for n in 0..100 {
            memory.clear(&id(&format!("c{n}")), MessageId(new_ulid(1))).await.unwrap();
        }
        assert!(is_kept(&memory, "kept").await);
        assert_eq!(memory.kept.lock().unwrap().marks.len(), 10);
    }
}
