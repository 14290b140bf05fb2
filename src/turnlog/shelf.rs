//! Where the in-process log keeps its turns, for how long, and how many.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Accepted, Idempotency, LogPage, NewTurn, Record};
use crate::words::{ConversationKey, Event, EventId, TurnId};

/// Above this, ended turns are forgotten before their time, oldest first: what a busy replica spends on turns nobody may
/// come back for. Running turns are bounded by `turns.max_concurrent` and `turns.max_bytes`.
const MOST_BYTES: usize = 128 * 1024 * 1024;

/// What a turn costs beside its events, roughly, in bytes.
const TURN_BYTES: usize = 1024;

/// Turns forgotten at most in one step: more than one, so that forgetting is faster than beginning.
const FORGOTTEN_AT_ONCE: usize = 8;

/// A turn and its whole log.
pub(super) struct Kept {
    pub(super) record: Record,
    pub(super) events: Vec<Arc<Event>>,
    pub(super) news: Arc<Notify>,
    key: Option<[u8; 32]>,
    bytes: usize,
    expires: Instant,
}

impl Kept {
    pub(super) fn page(&self, after: EventId, limit: usize) -> LogPage {
        let from = self.events.partition_point(|event| event.id <= after);
        let events = self.events[from..].iter().take(limit).cloned().collect();
        LogPage { record: self.record.clone(), events }
    }
}

/// What an idempotency key stands for.
struct Key {
    turn: TurnId,
    body: [u8; 32],
}

/// All turns, found by id, by conversation and by idempotency key.
pub(super) struct Shelf {
    turns: HashMap<TurnId, Kept>,
    current: HashMap<ConversationKey, TurnId>,
    keys: HashMap<[u8; 32], Key>,
    /// Running turns by the moment they are forgotten even if nobody ends them.
    running: BTreeSet<(Instant, TurnId)>,
    /// Ended turns, the first to be forgotten first.
    ended: VecDeque<TurnId>,
    bytes: usize,
    most_bytes: usize,
}

impl Shelf {
    pub(super) fn new() -> Self {
        Self {
            turns: HashMap::new(),
            current: HashMap::new(),
            keys: HashMap::new(),
            running: BTreeSet::new(),
            ended: VecDeque::new(),
            bytes: 0,
            most_bytes: MOST_BYTES,
        }
    }

    pub(super) fn turn(&self, turn: TurnId) -> Option<&Kept> {
        self.turns.get(&turn).filter(|kept| kept.expires > Instant::now())
    }

    pub(super) fn current(&self, conversation: &ConversationKey) -> Option<&Kept> {
        self.current.get(conversation).and_then(|turn| self.turn(*turn))
    }

    /// What an idempotency key stands for.
    pub(super) fn by_key(&self, idempotency: &Idempotency) -> Option<Accepted> {
        let key = self.keys.get(&idempotency.key).filter(|key| self.turn(key.turn).is_some())?;
        Some(if key.body == idempotency.body { Accepted::Same(key.turn) } else { Accepted::OtherBody })
    }

    pub(super) fn running(&self) -> impl Iterator<Item = &Record> {
        self.running.iter().filter_map(|(_, turn)| self.turn(*turn)).map(|kept| &kept.record)
    }

    pub(super) fn put(&mut self, turn: &NewTurn, life: Duration) {
        if let Some(Idempotency { key, body }) = turn.idempotency {
            self.keys.insert(key, Key { turn: turn.turn, body });
        }
        self.current.insert(turn.conversation.clone(), turn.turn);
        self.keep(turn.page(), life);
    }

    /// Takes in a turn as somebody else has it; what led to another turn meanwhile keeps leading there.
    pub(super) fn restore(&mut self, copy: LogPage, life: Duration) {
        let turn = copy.record.turn;
        if let Some(idempotency) = copy.record.idempotency.as_ref().filter(|key| self.by_key(key).is_none()) {
            self.keys.insert(idempotency.key, Key { turn, body: idempotency.body });
        }
        let runs = !copy.record.status.is_terminal();
        // Of two turns that were begun apart, one that runs keeps the conversation, then the newer one.
        let stays = self.current(&copy.record.conversation).map(|kept| &kept.record).is_some_and(|other| {
            other.turn != turn && (!other.status.is_terminal() || (other.turn > turn && !runs))
        });
        if !stays {
            self.current.insert(copy.record.conversation.clone(), turn);
        }
        self.keep(copy, life);
    }

    fn keep(&mut self, page: LogPage, life: Duration) {
        self.forget_some();
        let LogPage { record, events } = page;
        let turn = record.turn;
        self.drop_old(turn);
        let bytes = TURN_BYTES + record.request.get().len() + cost(&events);
        let expires = Instant::now() + life;
        if record.status.is_terminal() {
            self.ended.push_back(turn);
        } else {
            self.running.insert((expires, turn));
        }
        self.bytes += bytes;
        let key = record.idempotency.as_ref().map(|idempotency| idempotency.key);
        let news = Arc::new(Notify::new());
        self.turns.insert(turn, Kept { record, events, news, key, bytes, expires });
    }

    /// Makes room for another copy of the same turn.
    fn drop_old(&mut self, turn: TurnId) {
        let Some(old) = self.turns.remove(&turn) else { return };
        self.running.remove(&(old.expires, turn));
        self.bytes = self.bytes.saturating_sub(old.bytes);
        old.news.notify_waiters();
    }

    /// Changes a turn's record; a turn that is ended by that lives for `retention` from now on.
    pub(super) fn change(&mut self, turn: TurnId, retention: Duration, change: impl FnOnce(&mut Record)) {
        let Some(kept) = self.turns.get_mut(&turn) else { return };
        let was_running = !kept.record.status.is_terminal();
        change(&mut kept.record);
        if was_running && kept.record.status.is_terminal() {
            self.running.remove(&(kept.expires, turn));
            kept.expires = Instant::now() + retention;
            self.ended.push_back(turn);
        }
        kept.news.notify_waiters();
    }

    /// Adds events at the end of a turn's log.
    pub(super) fn extend(&mut self, turn: TurnId, batch: &[Arc<Event>]) {
        let Some(kept) = self.turns.get_mut(&turn) else { return };
        let bytes = cost(batch);
        kept.events.extend_from_slice(batch);
        kept.record.last = batch.last().map_or(kept.record.last, |event| event.id);
        kept.bytes += bytes;
        self.bytes += bytes;
        kept.news.notify_waiters();
    }

    fn forget_some(&mut self) {
        let now = Instant::now();
        for _ in 0..FORGOTTEN_AT_ONCE {
            let too_much = self.bytes > self.most_bytes;
            let over =
                |turn: &TurnId| self.turns.get(turn).is_none_or(|kept| too_much || kept.expires <= now);
            if self.ended.front().is_some_and(over) {
                let oldest = self.ended.pop_front();
                oldest.into_iter().for_each(|turn| self.forget(turn));
            } else if self.running.first().is_some_and(|(expires, _)| *expires <= now) {
                let dead = self.running.pop_first();
                dead.into_iter().for_each(|(_, turn)| self.forget(turn));
            } else {
                return;
            }
        }
    }

    fn forget(&mut self, turn: TurnId) {
        let Some(kept) = self.turns.remove(&turn) else { return };
        self.bytes = self.bytes.saturating_sub(kept.bytes);
        kept.news.notify_waiters();
        if self.current.get(&kept.record.conversation) == Some(&turn) {
            self.current.remove(&kept.record.conversation);
        }
        if let Some(key) = kept.key.filter(|key| self.keys.get(key).is_some_and(|known| known.turn == turn)) {
            self.keys.remove(&key);
        }
    }
}

/// An event is kept as its parts and as its line of JSON.
fn cost(events: &[Arc<Event>]) -> usize {
    events.iter().map(|event| 2 * event.size() + size_of::<Event>()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{
        ClientAddress, ConversationRef, EventBody, Principal, Timestamp, TurnStatus, new_ulid,
    };

    const LIFE: Duration = Duration::from_secs(60);

    fn put(shelf: &mut Shelf, conversation: &str) -> TurnId {
        let conversation: ConversationKey = conversation.parse().unwrap();
        let turn = TurnId::new(new_ulid(1), &conversation);
        let started = EventBody::TurnStarted {
            conversation: ConversationRef { id: conversation.id().clone(), created: true },
            message_id: turn.user_message(),
            degraded: false,
        };
        let address = std::net::IpAddr::from([192, 0, 2, 7]);
        let new = NewTurn {
            turn,
            conversation,
            principal: Principal::Address(ClientAddress::from(address)),
            owner: "a".parse().unwrap(),
            deadline: Timestamp::now(),
            request: serde_json::value::RawValue::NULL.to_owned().into(),
            first: Arc::new(Event::new(EventId::before(1).next(), turn, started)),
            idempotency: Some(Idempotency { key: [7; 32], body: [7; 32] }),
        };
        shelf.put(&new, LIFE);
        turn
    }

    fn end(shelf: &mut Shelf, turn: TurnId) {
        shelf.change(turn, LIFE, |record| record.status = TurnStatus::Completed);
    }

    #[tokio::test]
    async fn when_there_is_too_much_the_oldest_ended_turns_go_and_running_ones_stay() {
        let mut shelf = Shelf { most_bytes: 0, ..Shelf::new() };
        let running = put(&mut shelf, "running");
        let mut ended: Vec<_> = (0..20).map(|n| put(&mut shelf, &n.to_string())).collect();
        ended.iter().for_each(|turn| end(&mut shelf, *turn));

        put(&mut shelf, "new");
        let kept = ended.split_off(FORGOTTEN_AT_ONCE);
        assert!(ended.iter().all(|turn| shelf.turn(*turn).is_none()));
        assert!(kept.iter().all(|turn| shelf.turn(*turn).is_some()));
        put(&mut shelf, "newer");
        put(&mut shelf, "newest");

        assert!(kept.iter().all(|turn| shelf.turn(*turn).is_none()));
        assert!(shelf.turn(running).is_some());
        assert_eq!((shelf.turns.len(), shelf.current.len(), shelf.ended.len()), (4, 4, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_nobody_ends_is_forgotten_in_the_end_with_all_that_led_to_it() {
        let mut shelf = Shelf::new();
        let lost = put(&mut shelf, "c");
        tokio::time::advance(LIFE).await;
        assert!(shelf.turn(lost).is_none());
        assert!(shelf.current(&"c".parse().unwrap()).is_none());
        assert_eq!(shelf.running().count(), 0);

        let fresh = put(&mut shelf, "d");

        assert_eq!((shelf.turns.len(), shelf.current.len(), shelf.running.len()), (1, 1, 1));
        assert_eq!(shelf.keys.len(), 1);
        shelf.forget(fresh);
        assert_eq!((shelf.bytes, shelf.keys.len()), (0, 0));
    }
}
