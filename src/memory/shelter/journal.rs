//! The copy, for many at once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::warn;

use super::listing::Unshared;
use super::page::{place_in, says_the_same};
use super::pages::{Own, Pages};
use super::shared::{Found, Portion};
use crate::config;
use crate::memory::conversation::turn_of;
use crate::memory::{History, ListingItem, Written};
use crate::telemetry::Quiet;
use crate::telemetry::metrics::{Backend, Metrics};
use crate::words::{ConversationKey, Message, MessageId, PrincipalHash, Role, Timestamp};

/// How many lines a minute tell of the same trouble.
const LINES: u32 = 1;

/// What this replica has of all conversations, and what of that is not known to be shared. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pages: Mutex<Pages>,
    /// There is something to share that its writer could not.
    news: Notify,
    metrics: Arc<Metrics>,
    given_up: Quiet,
    conflicts: Quiet,
}

impl Journal {
    pub(super) fn new(settings: &config::Memory, metrics: Arc<Metrics>) -> Self {
        metrics.memory.unconfirmed.set(&(), 0);
        let inner = Inner {
            pages: Mutex::new(Pages::new(settings)),
            news: Notify::new(),
            metrics,
            given_up: Quiet::new("memory_unconfirmed_dropped", LINES),
            conflicts: Quiet::new("memory_merge_conflict", LINES),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.with(|pages| pages.conversations() == 0)
    }

    /// Whoever writes shares it as well, as long as they hold this.
    pub(super) fn sharing(&self, id: &ConversationKey) -> Sharing {
        self.with(|pages| pages.begins(id));
        Sharing { journal: self.clone(), id: id.clone() }
    }

    /// Takes in what was said here; nobody else knows it yet.
    pub(super) fn write(&self, id: &ConversationKey, portion: &Portion, now: Instant) -> Written {
        self.with(|pages| pages.write(id, portion, now))
    }

    /// These messages are shared, as of a call that began at `now`.
    pub(super) fn confirm(&self, id: &ConversationKey, messages: &[Message], now: Instant) {
        self.with(|pages| pages.confirm(id, messages, now));
    }

    /// What is known here.
    pub(super) fn read(&self, id: &ConversationKey) -> Own {
        self.with(|pages| pages.read(id, Instant::now()))
    }

    /// Forgets up to a mark, which is shared or not yet; says whether there was anything.
    pub(super) fn forget(&self, id: &ConversationKey, up_to: MessageId, shared: bool, now: Instant) -> bool {
        self.with(|pages| pages.forget(id, up_to, shared, now))
    }

    /// Forgets what others have forgotten.
    pub(super) fn hear(&self, forgotten: &[(ConversationKey, MessageId)]) {
        let now = Instant::now();
        self.with(|pages| forgotten.iter().for_each(|(id, mark)| pages.hear(id, *mark, now)));
    }

    /// Takes in what replicas share, as of a call that began at `now`; answers what is known then.
    pub(super) fn learn(&self, id: &ConversationKey, found: Found, now: Instant) -> Option<History> {
        let (history, differ) = self.with(|pages| pages.learn(id, found, now));
        self.conflicts(id, differ);
        history
    }

    /// The same, after a turn was found to be answered already: by these replies or by others.
    pub(super) fn learn_turn(&self, id: &ConversationKey, turn: &[Message], found: Found, now: Instant) {
        let shared = found.history.as_ref().map_or(&[][..], |history| &history.messages);
        let other = turn.iter().filter(|reply| reply.role == Role::Assistant && !is_there(reply, shared));
        let other: BTreeSet<u128> = other.map(|reply| turn_of(reply.id)).collect();
        let (_, differ) = self.with(|pages| pages.learn(id, found, now));
        self.conflicts(id, differ.union(&other).copied().collect());
    }

    fn conflicts(&self, id: &ConversationKey, turns: BTreeSet<u128>) {
        self.inner.metrics.memory.conflicts.add(&(), turns.len() as u64);
        if turns.is_empty() {
            return;
        }
        if let Some(suppressed) = self.inner.conflicts.line(&self.inner.metrics.process) {
            warn!(
                event = "memory_merge_conflict",
                conversation_id = %id.id(),
                suppressed,
                "a turn was answered twice; the version that was shared first is kept"
            );
        }
    }

    /// Suspects that what was used within this time is no longer shared; everything, if there is no time.
    pub(super) fn doubt(&self, within: Option<Duration>) {
        let since = within.and_then(|within| Instant::now().checked_sub(within));
        self.with(|pages| pages.doubt(since));
    }

    pub(super) fn is_doubted(&self, id: &ConversationKey) -> bool {
        self.with(|pages| pages.is_doubted(id, Instant::now()))
    }

    pub(super) fn trust(&self, id: &ConversationKey) {
        self.with(|pages| pages.trust(id));
    }

    /// The entry in its owner's list is to be written anew.
    pub(super) fn note_unlisted(&self, id: &ConversationKey) {
        self.with(|pages| pages.note_unlisted(id));
    }

    /// When this conversation was spoken in last, if anything of it is here; looking is no use.
    pub(super) fn updated(&self, id: &ConversationKey) -> Option<Timestamp> {
        self.with(|pages| pages.updated(id, Instant::now()))
    }

    /// What is here of a principal.
    pub(super) fn list(&self, of: PrincipalHash) -> Vec<ListingItem> {
        self.with(|pages| pages.list(of, Instant::now()))
    }

    /// What is here and not shared of a principal.
    pub(super) fn unshared_of(&self, of: PrincipalHash) -> Unshared {
        self.with(|pages| pages.unshared_of(of, Instant::now()))
    }

    /// Some conversations of which something is to be shared, but none of those left out.
    pub(super) fn work(
        &self,
        most: usize,
        left_out: &BTreeSet<ConversationKey>,
    ) -> BTreeSet<ConversationKey> {
        self.with(|pages| pages.work(most, left_out))
    }

    /// What of this conversation is to be shared, if nobody does: a mark, and messages.
    pub(super) fn unshared(&self, id: &ConversationKey) -> (Option<MessageId>, Vec<Portion>) {
        self.with(|pages| pages.unshared(id, Instant::now()))
    }

    /// Somebody could not share what they wrote.
    pub(super) fn needs_work(&self) {
        self.inner.news.notify_one();
    }

    /// Waits until somebody could not share what they wrote.
    pub(super) async fn has_work(&self) {
        self.inner.news.notified().await;
    }

    /// How much is not shared: messages, and forgotten conversations.
    pub(super) fn unconfirmed(&self) -> (usize, usize) {
        self.with(|pages| pages.unconfirmed())
    }

    /// Says what is lost with this process.
    pub(super) fn give_up_all(&self) {
        let (messages, forgotten) = self.unconfirmed();
        if messages + forgotten > 0 {
            self.inner.metrics.memory.unconfirmed_dropped.add(&(), (messages + forgotten) as u64);
            warn!(
                event = "memory_unconfirmed_lost",
                messages,
                forgotten,
                "redis could not be asked to the end; what only this replica knew is lost"
            );
        }
    }

    /// Nothing in here waits, and the work is bounded.
    fn with<R>(&self, work: impl FnOnce(&mut Pages) -> R) -> R {
        let mut pages = self.inner.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut pages);
        let given_up = pages.tidy(Instant::now());
        let (messages, _) = pages.unconfirmed();
        let conversations = pages.conversations();
        drop(pages);
        self.show(messages, conversations);
        self.gave_up(given_up);
        result
    }

    fn show(&self, unconfirmed: usize, conversations: usize) {
        let metrics = &self.inner.metrics.memory;
        metrics.unconfirmed.set(&(), i64::try_from(unconfirmed).unwrap_or(i64::MAX));
        let conversations = i64::try_from(conversations).unwrap_or(i64::MAX);
        metrics.conversations.set(&(Backend::Local,), conversations);
    }

    fn gave_up(&self, count: usize) {
        if count == 0 {
            return;
        }
        self.inner.metrics.memory.unconfirmed_dropped.add(&(), count as u64);
        if let Some(suppressed) = self.inner.given_up.line(&self.inner.metrics.process) {
            warn!(
                event = "memory_unconfirmed_dropped",
                count, suppressed, "too much waits for redis; the oldest of it is given up"
            );
        }
    }
}

/// Somebody shares what they write; if they leave before that is done, it is done for them.
pub(super) struct Sharing {
    journal: Journal,
    id: ConversationKey,
}

impl Drop for Sharing {
    fn drop(&mut self) {
        self.journal.with(|pages| pages.ends(&self.id));
    }
}

fn is_there(reply: &Message, shared: &[Message]) -> bool {
    place_in(shared, reply.id).is_some_and(|place| says_the_same(reply, &shared[place]))
}
