//! What replicas share, in this process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::memory::conversation::turn_of;
use crate::memory::shelter::{Answer, Became, Failed, Found, News, Portion, SharedMemory};
use crate::memory::{History, ListingItem, ListingPlace};
use crate::redis::Resync;
use crate::words::{ConversationKey, Message, MessageId, PrincipalHash, Realm, Role, Timestamp};

type Conversations = BTreeMap<ConversationKey, (Option<MessageId>, BTreeMap<MessageId, Message>)>;

/// What replicas share, as a model of it: what Redis promises, and what can go wrong with it.
#[derive(Clone)]
pub(super) struct Model {
    kept: Arc<Mutex<Kept>>,
    resync: watch::Sender<Resync>,
    most: usize,
}

#[derive(Default)]
pub(super) struct Kept {
    pub(super) away: bool,
    /// Calls are carried out, and nobody hears of it.
    mute: bool,
    pub(super) conversations: Conversations,
    forgotten: Vec<(ConversationKey, MessageId)>,
    pub(super) listed: BTreeMap<ConversationKey, Timestamp>,
    /// Counts on when everything is lost, as the clock does that Redis makes places of.
    first_place: usize,
    saved: Conversations,
}

impl Model {
    pub(super) fn new(most: usize) -> Self {
        Self { kept: Arc::default(), resync: watch::Sender::default(), most }
    }

    pub(super) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }

    pub(super) fn goes_away(&self) {
        self.kept().away = true;
    }

    pub(super) fn goes_mute(&self) {
        self.kept().mute = true;
    }

    pub(super) fn is_back(&self) {
        let mut kept = self.kept();
        let was_away = kept.away || kept.mute;
        (kept.away, kept.mute) = (false, false);
        drop(kept);
        if was_away {
            self.resync.send_modify(|resync| resync.returns += 1);
        }
    }

    /// What it holds now is what it will come back with after a failover.
    pub(super) fn saves(&self) {
        let mut kept = self.kept();
        kept.saved = kept.conversations.clone();
    }

    pub(super) fn fails_over(&self) {
        let mut kept = self.kept();
        kept.conversations = kept.saved.clone();
        drop(kept);
        self.resync.send_modify(|resync| resync.returns += 1);
    }

    /// Loses everything; replicas hear of it later.
    pub(super) fn loses_everything(&self) {
        let mut kept = self.kept();
        kept.first_place += kept.forgotten.len();
        (kept.conversations, kept.listed, kept.forgotten, kept.saved) = Default::default();
    }

    pub(super) fn is_known_to_have_lost(&self) {
        self.resync.send_modify(|resync| resync.losses += 1);
    }

    fn ask<R>(&self, work: impl FnOnce(&mut Kept) -> R) -> Result<R, Failed> {
        let mut kept = self.kept();
        if kept.away {
            return Err(Failed::Away("away".into()));
        }
        let result = work(&mut kept);
        if kept.mute { Err(Failed::Away("mute".into())) } else { Ok(result) }
    }
}

#[async_trait]
impl SharedMemory for Model {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn is_reachable(&self) -> bool {
        true
    }

    fn resync(&self) -> watch::Receiver<Resync> {
        self.resync.subscribe()
    }

    async fn write(&self, id: &ConversationKey, portion: &Portion) -> Result<Answer, Failed> {
        tokio::task::yield_now().await;
        let most = self.most;
        self.ask(|kept| {
            let (mark, messages) = kept.conversations.entry(id.clone()).or_default();
            Answer { became: written(*mark, messages, portion, most), mark: *mark }
        })
    }

    async fn read(&self, id: &ConversationKey) -> Result<Found, Failed> {
        tokio::task::yield_now().await;
        self.ask(|kept| {
            let (mark, messages) = kept.conversations.get(id).cloned().unwrap_or_default();
            let messages: Vec<Message> = messages.into_values().collect();
            let history = History { messages, ..History::default() };
            Found { mark, history: Some(history).filter(|history| !history.messages.is_empty()) }
        })
    }

    async fn forget(&self, id: &ConversationKey, up_to: MessageId) -> Result<(bool, MessageId), Failed> {
        tokio::task::yield_now().await;
        self.ask(|kept| {
            let (mark, messages) = kept.conversations.entry(id.clone()).or_default();
            *mark = (*mark).max(Some(up_to));
            let before = messages.len();
            messages.retain(|id, _| Some(*id) > *mark);
            (messages.len() < before, mark.unwrap_or(up_to))
        })
    }

    async fn enlist(&self, id: &ConversationKey, updated_at: Timestamp) -> Result<(), Failed> {
        self.ask(|kept| {
            let before = kept.listed.entry(id.clone()).or_insert(updated_at);
            *before = updated_at.max(*before);
        })
    }

    async fn listed(&self, of: PrincipalHash) -> Result<Vec<ListingPlace>, Failed> {
        let place = |(key, updated_at): (&ConversationKey, &Timestamp)| ListingPlace {
            updated_at: *updated_at,
            id: key.id().clone(),
        };
        self.ask(|kept| {
            let own = kept.listed.iter().filter(|(key, _)| key.realm() == Realm::Own(of));
            own.map(place).collect()
        })
    }

    async fn strike(&self, of: PrincipalHash, gone: &[ListingPlace]) -> Result<(), Failed> {
        self.ask(|kept| {
            for place in gone {
                let key = ConversationKey::new(Realm::Own(of), place.id.clone());
                if kept.listed.get(&key).is_some_and(|updated_at| *updated_at <= place.updated_at) {
                    kept.listed.remove(&key);
                }
            }
        })
    }

    async fn peek(&self, id: &ConversationKey) -> Result<Option<ListingItem>, Failed> {
        let found = self.read(id).await?;
        Ok(found.history.map(|history| ListingItem::of(id.id().clone(), &history)))
    }

    async fn tell(&self, id: &ConversationKey, mark: MessageId) -> Result<(), Failed> {
        self.ask(|kept| kept.forgotten.push((id.clone(), mark)))
    }

    async fn newest_news(&self) -> Result<News, Failed> {
        let place = |kept: &mut Kept| (kept.first_place + kept.forgotten.len()).to_string();
        self.ask(|kept| News { place: place(kept), forgotten: Vec::new() })
    }

    async fn news_after(&self, place: &str) -> Result<News, Failed> {
        let place: usize = place.parse().unwrap_or(0);
        self.ask(|kept| {
            let news = kept.forgotten.iter().skip(place.saturating_sub(kept.first_place));
            let end = (kept.first_place + kept.forgotten.len()).max(place);
            News { place: end.to_string(), forgotten: news.cloned().collect() }
        })
    }
}

fn written(
    mark: Option<MessageId>,
    messages: &mut BTreeMap<MessageId, Message>,
    portion: &Portion,
    most: usize,
) -> Became {
    let turn = portion.messages.first().map(|message| turn_of(message.id));
    let reply = |message: &Message| message.role == Role::Assistant && Some(turn_of(message.id)) == turn;
    if portion.whole && messages.values().any(reply) {
        let same = |reply: &Message| messages.get(&reply.id) == Some(reply);
        let cut = |reply: &Message| messages.keys().next().is_some_and(|oldest| reply.id < *oldest);
        let other = portion.messages.iter().any(|message| reply(message) && !same(message) && !cut(message));
        return if other { Became::Other } else { Became::Known };
    }
    let sayable: Vec<_> = portion.messages.iter().filter(|message| Some(message.id) > mark).collect();
    if sayable.is_empty() {
        return Became::Cleared;
    }
    let mut new = BTreeSet::new();
    for message in sayable {
        if messages.insert(message.id, message.clone()).is_none() {
            new.insert(message.id);
        }
    }
    while messages.len() > most {
        new.remove(&messages.pop_first().unwrap().0);
    }
    if new.is_empty() { Became::Known } else { Became::Written(new.len()) }
}
