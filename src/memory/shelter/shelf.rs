//! What belongs to conversations, in the order of its last use.

use std::time::Duration;

use tokio::time::Instant;

use crate::memory::recent::Recent;
use crate::words::ConversationKey;

/// One thing per conversation. Some are pinned: they do not expire, and are not pushed out by what is newer.
#[derive(Debug)]
pub(super) struct Shelf<V> {
    free: Recent<ConversationKey, V>,
    pinned: Recent<ConversationKey, V>,
}

impl<V> Shelf<V> {
    /// What is not pinned is forgotten when it was not used for `ttl`.
    pub(super) fn new(ttl: Duration) -> Self {
        Self { free: Recent::new(ttl), pinned: Recent::for_good() }
    }

    pub(super) fn len(&self) -> usize {
        self.free.len() + self.pinned.len()
    }

    pub(super) fn free_len(&self) -> usize {
        self.free.len()
    }

    /// What is there and has not expired; looking is no use.
    pub(super) fn peek(&self, id: &ConversationKey, now: Instant) -> Option<&V> {
        self.pinned.peek(id, now).or_else(|| self.free.peek(id, now))
    }

    pub(super) fn peek_pinned(&self, id: &ConversationKey, now: Instant) -> Option<&V> {
        self.pinned.peek(id, now)
    }

    /// What is there and has not expired; looking is a use.
    pub(super) fn get(&mut self, id: &ConversationKey, now: Instant) -> Option<&mut V> {
        if self.pinned.peek(id, now).is_some() { self.pinned.get(id, now) } else { self.free.get(id, now) }
    }

    /// When it was used last.
    pub(super) fn last_use(&self, id: &ConversationKey) -> Option<Instant> {
        self.pinned.last_use(id).or_else(|| self.free.last_use(id))
    }

    pub(super) fn put(&mut self, id: ConversationKey, value: V, is_pinned: bool, now: Instant) {
        self.remove(&id);
        let side = if is_pinned { &mut self.pinned } else { &mut self.free };
        side.put(id, value, now);
    }

    /// Takes away what is there, even if it has expired.
    pub(super) fn remove(&mut self, id: &ConversationKey) -> Option<V> {
        self.pinned.remove(id).or_else(|| self.free.remove(id))
    }

    /// Takes away what is not pinned and was used longest ago.
    pub(super) fn remove_oldest(&mut self) -> Option<V> {
        self.free.remove_oldest()
    }

    /// Takes away some of what has expired.
    pub(super) fn remove_expired(&mut self, now: Instant) -> Vec<V> {
        self.free.remove_expired(now)
    }

    /// Everything there.
    pub(super) fn keys(&self) -> impl Iterator<Item = &ConversationKey> {
        self.free.keys().chain(self.pinned.keys())
    }

    /// What is pinned, beginning with what was used longest ago.
    pub(super) fn pinned(&self) -> impl ExactSizeIterator<Item = &ConversationKey> {
        self.pinned.keys()
    }

    /// What was used at or after this moment; all of it, if there is none.
    pub(super) fn used_since(&self, moment: Option<Instant>) -> Vec<ConversationKey> {
        let sides = [&self.free, &self.pinned];
        sides.into_iter().flat_map(|side| side.used_since(moment)).cloned().collect()
    }
}
