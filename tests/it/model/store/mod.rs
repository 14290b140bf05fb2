//! The durable log by the rules of `state.md`, written a second time and small, so that it can be looked through, rolled
//! back and broken on purpose. Nothing here waits; what lies between a replica and it is in [`super::link`].

mod disaster;
mod mutant;
mod state;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use polylogue::turnlog::{Accepted, Appended, Claim, Idempotency, LogPage, NewTurn, Record, TakenOver};
use polylogue::words::{
    CancelReason, ConversationKey, Event, EventBody, EventId, Realm, ReplicaId, ResetReason, TurnId,
    TurnStatus,
};
use tokio::sync::Notify;
use tokio::time::Instant;

pub use disaster::{Tally, Wiped};
pub use mutant::Mutant;
use state::{Kept, State, is_owner, status_after, unfinished};

use super::trace::Trace;

/// Changes that can be taken back; more than any failover of a run reaches.
const REMEMBERED: usize = 512;

/// The clock of Redis at the beginning of a run.
const BEGAN_MS: u64 = 1_800_000_000_000;

/// `turns.max_takeovers`.
const MOST_TAKEOVERS: u32 = 3;

#[derive(Default)]
struct Inner {
    state: State,
    /// The state before each of the last changes, and when it was changed.
    past: VecDeque<(Instant, State)>,
    /// Turns as they were when the store forgot everything.
    wiped: BTreeMap<TurnId, Wiped>,
    /// The newest epoch each turn ever had.
    newest: BTreeMap<TurnId, u64>,
    /// Turns that were written in an epoch older than one they had had before: a failover gave them back.
    given_back: BTreeSet<TurnId>,
    /// How often each kind of write got each kind of answer.
    tally: Tally,
    /// Events that were written and then forgotten.
    lost: BTreeSet<(TurnId, EventId)>,
}

pub struct Store {
    inner: Mutex<Inner>,
    news: Notify,
    takeovers: Notify,
    began: Instant,
    mutant: Mutant,
    trace: Trace,
}

impl Store {
    pub fn new(mutant: Mutant, trace: Trace) -> Self {
        let inner = Inner::default();
        Self {
            inner: Mutex::new(inner),
            news: Notify::new(),
            takeovers: Notify::new(),
            began: Instant::now(),
            mutant,
            trace,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn now_ms(&self) -> u64 {
        BEGAN_MS + self.began.elapsed().as_millis() as u64
    }

    /// One atomic change.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut inner = self.inner();
        let before = inner.state.clone();
        inner.past.push_back((Instant::now(), before));
        if inner.past.len() > REMEMBERED {
            inner.past.pop_front();
        }
        let answer = change(&mut inner.state);
        drop(inner);
        self.news.notify_waiters();
        answer
    }

    fn change_turn(&self, turn: TurnId, change: impl FnOnce(&mut Kept)) {
        self.change(|state| {
            if let Some(kept) = state.turns.get_mut(&turn) {
                change(Arc::make_mut(kept));
            }
        });
    }

    /// The first rule: a write is compared before it is carried out.
    fn refusal(&self, claim: &Claim, previous: EventId) -> Option<Appended> {
        let inner = self.inner();
        let Some(record) = inner.state.record(claim.turn) else { return Some(Appended::Gone) };
        if record.status.is_terminal() {
            return Some(Appended::Ended(record.status));
        }
        if self.mutant == Mutant::WritesForAnybody {
            return None;
        }
        if !is_owner(record, claim) {
            return Some(Appended::Fenced);
        }
        let follows = record.last == previous || self.mutant == Mutant::WritesAnywhere;
        (!follows).then_some(Appended::Resend { from: record.last })
    }

    fn write(&self, claim: &Claim, previous: EventId, change: impl FnOnce(&mut Kept)) -> Appended {
        if let Some(refusal) = self.refusal(claim, previous) {
            return refusal;
        }
        let cancel = self.inner().state.record(claim.turn).and_then(|record| record.cancel);
        self.change_turn(claim.turn, change);
        Appended::Ok { cancel }
    }
}

/// What replicas ask of it.
impl Store {
    pub fn accept(&self, new: &NewTurn) -> Accepted {
        let inner = self.inner();
        if let Some(record) = inner.state.record(new.turn) {
            // Late, it must not begin a turn once more that others have gone on with.
            let is_ours = is_owner(record, &new.claim());
            return if is_ours { Accepted::Ok(new.claim()) } else { Accepted::Same(new.turn) };
        }
        let known = new.idempotency.as_ref().and_then(|key| inner.state.by_key(key));
        let current = inner.state.current.get(&new.conversation).copied();
        let busy = current.filter(|turn| inner.state.runs(*turn));
        drop(inner);
        if let Some(known) = known.or(busy.map(Accepted::Busy)) {
            return known;
        }
        self.change(|state| {
            let LogPage { record, events } = new.page();
            state.turns.insert(new.turn, Arc::new(Kept { record, ended: None, entries: vec![events] }));
            state.current.insert(new.conversation.clone(), new.turn);
            let key = new.idempotency.as_ref();
            state.keys.extend(key.map(|key| (key.key, (new.turn, key.body))));
        });
        Accepted::Ok(new.claim())
    }

    pub fn find(&self, key: &Idempotency) -> Option<Accepted> {
        self.inner().state.by_key(key)
    }

    pub fn append(&self, claim: &Claim, previous: EventId, batch: &[Arc<Event>]) -> Appended {
        if batch.is_empty() {
            let cancel = self.inner().state.record(claim.turn).and_then(|record| record.cancel);
            return self.refusal(claim, previous).unwrap_or(Appended::Ok { cancel });
        }
        let answer = self.write(claim, previous, |kept| kept.add(batch));
        self.wrote("append", claim, previous, batch, answer)
    }

    fn wrote(
        &self,
        how: &'static str,
        claim: &Claim,
        previous: EventId,
        batch: &[Arc<Event>],
        answer: Appended,
    ) -> Appended {
        self.inner().notes(how, claim, answer);
        self.trace.note(|| {
            let names: Vec<_> =
                batch.iter().map(|event| format!("{} {}", event.id, event.body.name())).collect();
            format!("{} {how} in {} after {previous}: {names:?}: {answer:?}", claim.owner, claim.epoch)
        });
        answer
    }

    pub fn finish(&self, claim: &Claim, previous: EventId, batch: &[Arc<Event>]) -> Appended {
        let end = batch.last().unwrap();
        let repeats = |record: &&Record| {
            record.status.is_terminal() && is_owner(record, claim) && record.last == end.id
        };
        if let Some(record) = self.inner().state.record(claim.turn).filter(repeats) {
            return Appended::Ok { cancel: record.cancel };
        }
        let answer = self.write(claim, previous, |kept| {
            kept.add(batch);
            kept.record.status = status_after(end).unwrap_or(kept.record.status);
            kept.ended = Some(Instant::now());
        });
        self.wrote("finish", claim, previous, batch, answer)
    }

    /// The owner's copy wins over whatever there is of the turn, unless somebody else has it; but a turn that has ended
    /// does not run again.
    pub fn restore(&self, claim: &Claim, copy: &LogPage) -> Appended {
        let known = self.inner().state.record(claim.turn).cloned();
        let runs_again = |record: &Record| record.status.is_terminal() && !copy.record.status.is_terminal();
        let foreign = |record: &&Record| !is_owner(record, claim) || runs_again(record);
        let answer = match known.as_ref().filter(foreign) {
            Some(record) if record.status.is_terminal() => Appended::Ended(record.status),
            Some(_) => Appended::Fenced,
            None => Appended::Ok { cancel: known.as_ref().and_then(|record| record.cancel) },
        };
        if let Appended::Ok { cancel } = answer {
            self.change(|state| state.take_in(claim, copy, cancel));
        }
        self.wrote("restore", claim, EventId::START, &copy.events, answer)
    }

    pub fn release(&self, claim: &Claim, previous: EventId) -> Appended {
        let repeats = |record: &Record| {
            record.owner.is_none() && record.epoch == claim.epoch && !record.status.is_terminal()
        };
        let is_free = self.inner().state.record(claim.turn).is_some_and(repeats);
        let answer = if is_free {
            Appended::Ok { cancel: None }
        } else {
            self.write(claim, previous, |kept| kept.record.owner = None)
        };
        self.wrote("release", claim, previous, &[], answer)
    }

    pub fn take_over(&self, turn: TurnId, epoch: u64, owner: &ReplicaId) -> TakenOver {
        let Some(kept) = self.inner().state.turns.get(&turn).cloned() else { return TakenOver::Lost };
        if kept.record.epoch != epoch {
            return TakenOver::Lost;
        }
        if kept.record.status.is_terminal() {
            return TakenOver::Ended(kept.record.status);
        }
        let next = if self.mutant == Mutant::CountsEpochs { 0 } else { self.now_ms() };
        let claim = Claim { turn, owner: owner.clone(), epoch: next.max(epoch + 1) };
        let open = if self.mutant == Mutant::ResetsNothing { Vec::new() } else { unfinished(&kept) };
        let reset = |(seq, persona)| {
            let body = EventBody::ReplyReset { persona, reason: ResetReason::Takeover };
            Arc::new(Event::new(EventId { epoch: claim.epoch, seq }, turn, body))
        };
        let resets: Vec<_> = (1..).zip(open).map(reset).collect();
        self.change_turn(turn, |kept| {
            kept.add(&resets);
            kept.record.owner = Some(owner.clone());
            kept.record.epoch = claim.epoch;
            kept.record.takeovers += 1;
        });
        self.wrote("take over", &claim, EventId::before(claim.epoch), &resets, Appended::Ok { cancel: None });
        self.inner().newest.insert(turn, claim.epoch);
        self.takeovers.notify_waiters();
        let page = self.read(turn, EventId::START, usize::MAX).unwrap();
        let too_often = kept.record.takeovers >= MOST_TAKEOVERS;
        if too_often { TakenOver::TooOften { claim, page } } else { TakenOver::Ok { claim, page } }
    }

    pub fn read(&self, turn: TurnId, after: EventId, limit: usize) -> Option<LogPage> {
        let inner = self.inner();
        let kept = inner.state.turns.get(&turn)?;
        let mut page = kept.page(after, limit);
        if self.mutant == Mutant::ReadsWholeEntries {
            page.events = kept.entries_after(after).flatten().cloned().collect();
        }
        Some(page)
    }

    pub fn realm_of(&self, turn: TurnId) -> Option<Realm> {
        self.inner().state.turns.get(&turn).map(|kept| kept.record.conversation.realm())
    }

    pub async fn next_takeover(&self) {
        self.takeovers.notified().await;
    }

    /// Waits for news of the turn.
    pub async fn changed(&self, turn: TurnId, seen: EventId) {
        let mut news = std::pin::pin!(self.news.notified());
        news.as_mut().enable();
        let waits = |record: &Record| record.last <= seen && !record.status.is_terminal();
        let must_wait = self.inner().state.record(turn).is_some_and(waits);
        if must_wait {
            news.await;
        }
    }

    pub fn cancel(&self, turn: TurnId, reason: CancelReason) -> Option<TurnStatus> {
        let status = self.inner().state.record(turn)?.status;
        if !status.is_terminal() {
            self.change_turn(turn, |kept| {
                kept.record.cancel.get_or_insert(reason);
            });
        }
        Some(status)
    }

    pub fn current(&self, conversation: &ConversationKey) -> Option<(TurnId, TurnStatus)> {
        let inner = self.inner();
        let turn = *inner.state.current.get(conversation)?;
        inner.state.record(turn).map(|record| (turn, record.status))
    }

    pub fn owned(&self, owner: Option<&ReplicaId>) -> Vec<(TurnId, u64)> {
        let inner = self.inner();
        let records = inner.state.turns.values().map(|kept| &kept.record);
        let theirs = records.filter(|record| !record.status.is_terminal() && record.owner.as_ref() == owner);
        theirs.map(|record| (record.turn, record.epoch)).collect()
    }
}
