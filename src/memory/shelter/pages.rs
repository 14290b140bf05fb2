//! What this replica has of all conversations, within bounds.

use std::collections::{BTreeSet, HashMap};

use tokio::time::Instant;

use super::listing::Unshared;
use super::page::Page;
use super::shared::{Found, Portion};
use super::shelf::Shelf;
use crate::config;
use crate::memory::conversation::turn_of;
use crate::memory::{History, ListingItem, Written};
use crate::words::{ConversationKey, Message, MessageId, PrincipalHash, Realm, Timestamp};

/// Of the copy's room, what is not shared may fill one part in so many: the rest is for reading.
const PINNED_SHARE: usize = 2;

/// What this replica knows of a conversation by itself.
#[derive(Debug)]
pub(super) enum Own {
    Said(History),
    /// It was forgotten here, and nothing was said since.
    Forgotten,
    Unknown,
}

/// The copy. What is not shared is pinned, and bounded apart; when there is too much of it the oldest goes.
#[derive(Debug)]
pub(super) struct Pages {
    pages: Shelf<Page>,
    /// Up to which message a conversation was forgotten; pinned until that is shared.
    marks: Shelf<MessageId>,
    /// Every unconfirmed message, the oldest first.
    by_age: BTreeSet<(MessageId, ConversationKey)>,
    /// Conversations of which the shared memory may have lost something.
    doubted: BTreeSet<ConversationKey>,
    /// Conversations whose entry in their owner's list is to be written anew.
    unlisted: BTreeSet<ConversationKey>,
    /// Conversations that somebody is sharing something of, and how many do.
    busy: HashMap<ConversationKey, usize>,
    bytes: usize,
    pinned_bytes: usize,
    most_messages: usize,
    most_conversations: usize,
    most_bytes: usize,
}

impl Pages {
    pub(super) fn new(settings: &config::Memory) -> Self {
        Self {
            pages: Shelf::new(*settings.ttl),
            marks: Shelf::new(*settings.ttl),
            by_age: BTreeSet::new(),
            doubted: BTreeSet::new(),
            unlisted: BTreeSet::new(),
            busy: HashMap::new(),
            bytes: 0,
            pinned_bytes: 0,
            most_messages: settings.max_messages.get(),
            most_conversations: settings.max_conversations.get(),
            most_bytes: settings.max_bytes.0,
        }
    }

    pub(super) fn conversations(&self) -> usize {
        self.pages.len()
    }

    /// How many messages and marks are not shared.
    pub(super) fn unconfirmed(&self) -> (usize, usize) {
        (self.by_age.len(), self.marks.pinned().len())
    }

    pub(super) fn write(&mut self, id: &ConversationKey, portion: &Portion, now: Instant) -> Written {
        let mark = self.mark(id, now);
        let most = self.most_messages;
        self.change(id, now, |page| page.write(portion, mark, most))
    }

    pub(super) fn confirm(&mut self, id: &ConversationKey, messages: &[Message], now: Instant) {
        self.change(id, now, |page| page.confirm(messages));
    }

    /// What is known here; asking is a use.
    pub(super) fn read(&mut self, id: &ConversationKey, now: Instant) -> Own {
        let mark = self.mark(id, now);
        let history = self.change(id, now, |page| page.history().clone());
        match mark {
            _ if !history.messages.is_empty() => Own::Said(history),
            Some(_) => Own::Forgotten,
            None => Own::Unknown,
        }
    }

    /// Forgets up to a mark; says whether there was anything.
    pub(super) fn forget(
        &mut self,
        id: &ConversationKey,
        up_to: MessageId,
        shared: bool,
        now: Instant,
    ) -> bool {
        let mark = self.raise(id, up_to, shared, now);
        self.change(id, now, |page| page.forget(mark))
    }

    /// Takes in a forgetting that was heard of, which is no use of the conversation.
    pub(super) fn hear(&mut self, id: &ConversationKey, up_to: MessageId, now: Instant) {
        let mark = self.raise(id, up_to, true, now);
        if let Some(last_use) = self.pages.last_use(id) {
            self.change(id, last_use, |page| page.forget(mark));
        }
    }

    fn raise(&mut self, id: &ConversationKey, up_to: MessageId, shared: bool, now: Instant) -> MessageId {
        let known = self.mark(id, now);
        if Some(up_to) > known || (shared && Some(up_to) == known) {
            self.marks.put(id.clone(), up_to, !shared, now);
        }
        known.map_or(up_to, |known| known.max(up_to))
    }

    /// Takes in what replicas share: what is here and not there is to be shared again. Answers what is known now, and
    /// which turns were here in another version.
    pub(super) fn learn(
        &mut self,
        id: &ConversationKey,
        found: Found,
        now: Instant,
    ) -> (Option<History>, BTreeSet<u128>) {
        if let Some(mark) = found.mark {
            self.forget(id, mark, true, now);
        }
        let mark = self.mark(id, now);
        if let Some(own) = mark.filter(|_| mark > found.mark) {
            self.marks.put(id.clone(), own, true, now);
        }
        let most = self.most_messages;
        self.change(id, now, |page| {
            let differ = page.learn(found.history, mark, most);
            let history = page.history();
            (Some(history).filter(|history| !history.messages.is_empty()).cloned(), differ)
        })
    }

    /// Somebody begins to share what they write: nobody else need do it meanwhile.
    pub(super) fn begins(&mut self, id: &ConversationKey) {
        *self.busy.entry(id.clone()).or_default() += 1;
    }

    /// Somebody has ended that, one way or the other.
    pub(super) fn ends(&mut self, id: &ConversationKey) {
        if let Some(count) = self.busy.get_mut(id) {
            *count -= 1;
            if *count == 0 {
                self.busy.remove(id);
            }
        }
    }

    /// Suspects that the shared memory has lost what was used at or after this moment; everything, if there is none.
    pub(super) fn doubt(&mut self, since: Option<Instant>) {
        self.doubted.extend(self.pages.used_since(since));
        self.doubted.extend(self.marks.used_since(since));
    }

    /// Whether the shared memory has to be asked what it still has of this conversation.
    pub(super) fn is_doubted(&self, id: &ConversationKey, now: Instant) -> bool {
        let known = self.pages.peek(id, now).is_some() || self.marks.peek(id, now).is_some();
        known && self.doubted.contains(id)
    }

    /// All of it is where it should be.
    pub(super) fn trust(&mut self, id: &ConversationKey) {
        self.doubted.remove(id);
        self.unlisted.remove(id);
    }

    /// The entry in its owner's list is to be written anew. Of too many the next use tells again.
    pub(super) fn note_unlisted(&mut self, id: &ConversationKey) {
        if id.realm() != Realm::Common && self.unlisted.len() < self.most_conversations {
            self.unlisted.insert(id.clone());
        }
    }

    /// When it was spoken in last, if anything of it is here; looking is no use.
    pub(super) fn updated(&self, id: &ConversationKey, now: Instant) -> Option<Timestamp> {
        Some(self.pages.peek(id, now)?.history().updated())
    }

    /// What is here of a principal.
    pub(super) fn list(&self, of: PrincipalHash, now: Instant) -> Vec<ListingItem> {
        self.items(self.pages.keys(), of, now).collect()
    }

    /// What is here and not shared of a principal.
    pub(super) fn unshared_of(&self, of: PrincipalHash, now: Instant) -> Unshared {
        let said = self.items(self.pages.pinned(), of, now).map(|item| (item.id.clone(), item)).collect();
        let is_own = |key: &&ConversationKey| key.realm() == Realm::Own(of);
        let is_empty = |key: &&ConversationKey| self.pages.peek(key, now).is_none();
        let forgotten = self.marks.pinned().filter(is_own).filter(is_empty);
        Unshared { said, forgotten: forgotten.map(|key| key.id().clone()).collect() }
    }

    fn items<'a>(
        &'a self,
        keys: impl Iterator<Item = &'a ConversationKey>,
        of: PrincipalHash,
        now: Instant,
    ) -> impl Iterator<Item = ListingItem> {
        let own = keys.filter(move |key| key.realm() == Realm::Own(of));
        own.filter_map(move |key| {
            Some(ListingItem::of(key.id().clone(), self.pages.peek(key, now)?.history()))
        })
    }

    /// Some conversations of which something is to be shared and nobody does, but none of those left out: forgotten ones
    /// first, then the oldest messages, then what is in doubt.
    pub(super) fn work(
        &self,
        most: usize,
        left_out: &BTreeSet<ConversationKey>,
    ) -> BTreeSet<ConversationKey> {
        let of_messages = self.by_age.iter().map(|(_, id)| id);
        let all = self.marks.pinned().chain(of_messages).chain(&self.doubted).chain(&self.unlisted);
        let mut work = BTreeSet::new();
        for id in all.filter(|id| !left_out.contains(*id) && !self.busy.contains_key(*id)) {
            if work.len() == most {
                break;
            }
            work.insert(id.clone());
        }
        work
    }

    /// What of this conversation is still to be shared, if nobody does: its mark, and messages.
    pub(super) fn unshared(&self, id: &ConversationKey, now: Instant) -> (Option<MessageId>, Vec<Portion>) {
        if self.busy.contains_key(id) {
            return (None, Vec::new());
        }
        let mark = self.marks.peek_pinned(id, now).copied();
        let portions = self.pages.peek_pinned(id, now).map(Page::unshared);
        (mark, portions.unwrap_or_default())
    }

    /// Removes what has expired and what is too much; how many messages and marks were given up unshared.
    pub(super) fn tidy(&mut self, now: Instant) -> usize {
        for expired in self.pages.remove_expired(now) {
            self.bytes = self.bytes.saturating_sub(expired.bytes());
        }
        self.marks.remove_expired(now);
        let given_up = self.give_up_oldest(now);
        while self.is_over_bounds()
            && let Some(oldest) = self.pages.remove_oldest()
        {
            self.bytes = self.bytes.saturating_sub(oldest.bytes());
        }
        given_up + self.drop_marks()
    }

    fn give_up_oldest(&mut self, now: Instant) -> usize {
        let mut given_up = 0;
        while self.pins_too_much()
            && let Some((message, id)) = self.by_age.first().cloned()
        {
            let last_use = self.pages.last_use(&id).unwrap_or(now);
            given_up += self.change(&id, last_use, |page| page.give_up(turn_of(message)));
        }
        given_up
    }

    fn drop_marks(&mut self) -> usize {
        while self.marks.free_len() > self.most_conversations {
            self.marks.remove_oldest();
        }
        let too_many = self.marks.pinned().len().saturating_sub(self.most_conversations);
        let oldest: Vec<ConversationKey> = self.marks.pinned().take(too_many).cloned().collect();
        for id in &oldest {
            self.marks.remove(id);
        }
        too_many
    }

    fn is_over_bounds(&self) -> bool {
        let free = self.pages.free_len();
        free > self.most_conversations || (self.bytes > self.most_bytes && free > 1)
    }

    fn pins_too_much(&self) -> bool {
        let most = self.most_conversations.saturating_mul(self.most_messages) / PINNED_SHARE;
        self.by_age.len() > most || self.pinned_bytes > self.most_bytes / PINNED_SHARE
    }

    /// Up to where the conversation was forgotten; looking is a use.
    fn mark(&mut self, id: &ConversationKey, now: Instant) -> Option<MessageId> {
        self.marks.get(id, now).copied()
    }

    /// Changes a page, which is a use; one without messages is none.
    fn change<R>(&mut self, id: &ConversationKey, now: Instant, work: impl FnOnce(&mut Page) -> R) -> R {
        let is_live = self.pages.peek(id, now).is_some();
        let mut page = self.take(id).filter(|_| is_live).unwrap_or_default();
        let result = work(&mut page);
        self.put(id, page, now);
        result
    }

    fn take(&mut self, id: &ConversationKey) -> Option<Page> {
        let page = self.pages.remove(id)?;
        self.bytes = self.bytes.saturating_sub(page.bytes());
        if !page.unconfirmed().is_empty() {
            self.pinned_bytes = self.pinned_bytes.saturating_sub(page.bytes());
            page.unconfirmed().iter().for_each(|message| {
                self.by_age.remove(&(*message, id.clone()));
            });
        }
        Some(page)
    }

    fn put(&mut self, id: &ConversationKey, page: Page, now: Instant) {
        if page.history().messages.is_empty() {
            return;
        }
        let is_pinned = !page.unconfirmed().is_empty();
        self.bytes += page.bytes();
        if is_pinned {
            self.pinned_bytes += page.bytes();
            self.by_age.extend(page.unconfirmed().iter().map(|message| (*message, id.clone())));
        }
        self.pages.put(id.clone(), page, is_pinned, now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::memory::shelter::tests::{here, said, turn};
    use crate::words::Timestamp;

    fn portion(n: u64) -> Portion {
        Portion::said(&[said(n)], false, Timestamp::now())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_gone_costs_nothing() {
        let mut settings = config::Config::default().memory;
        settings.max_messages = 3.try_into().unwrap();
        let (mut pages, began) = (Pages::new(&settings), Instant::now());
        for n in 0..200 {
            let id = format!("conversation-{}", n % 20).parse().unwrap();
            pages.write(&id, &portion(n), began);
            match n % 5 {
                0 => _ = pages.forget(&id, turn(n - n % 2).user_message(), n % 2 == 0, began),
                1 => drop(pages.learn(&id, Found::default(), began)),
                2 => pages.confirm(&id, &[said(n)], began),
                3 => pages.hear(&id, turn(n - 3).user_message(), began),
                _ => drop(pages.read(&id, began)),
            }
        }
        pages.doubt(None);
        for id in pages.work(usize::MAX, &BTreeSet::new()) {
            let (mark, portions) = pages.unshared(&id, began);
            mark.into_iter().for_each(|mark| _ = pages.forget(&id, mark, true, began));
            portions.iter().for_each(|portion| pages.confirm(&id, &portion.messages, began));
            pages.trust(&id);
        }
        assert_eq!((pages.unconfirmed(), pages.pinned_bytes), ((0, 0), 0));
        assert!(pages.bytes > 0 && pages.work(1, &BTreeSet::new()).is_empty());

        assert_eq!(pages.tidy(began + *settings.ttl), 0);
        assert_eq!((pages.bytes, pages.conversations(), pages.marks.len()), (0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn hearing_of_a_forgetting_does_not_make_what_is_left_live_longer() {
        let settings = config::Config::default().memory;
        let (mut pages, began) = (Pages::new(&settings), Instant::now());
        pages.write(&here(), &portion(2), began);
        pages.confirm(&here(), &[said(2)], began);
        pages.hear(&here(), turn(1).user_message(), began + Duration::from_secs(60));
        assert!(matches!(pages.read(&here(), began + *settings.ttl), Own::Forgotten));
    }
}
