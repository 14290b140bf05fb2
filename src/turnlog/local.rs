//! The log of one process: complete, and shared by all replicas that tests put into it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::fold::{end_of, unfinished};
use super::live_turns::left_of;
use super::shelf::{Kept, Shelf};
use super::{
    Accepted, Appended, Claim, Idempotency, LogPage, LogUnavailable, NewTurn, Record, TakenOver, TurnLog,
};
use crate::config;
use crate::words::{
    CancelReason, ConversationKey, Event, EventBody, EventId, Realm, ReplicaId, ResetReason, Timestamp,
    TurnId, TurnStatus,
};

/// `changed` returns at the latest after this long, whatever happened, so that no reader depends on a wake-up.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The turn log in memory. One lock over everything: each operation holds it for microseconds.
pub struct LocalTurnLog {
    settings: config::Turns,
    shelf: Mutex<Shelf>,
}

impl LocalTurnLog {
    /// An empty log.
    pub fn new(settings: config::Turns) -> Self {
        Self { settings, shelf: Mutex::new(Shelf::new()) }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn retention(&self) -> Duration {
        *self.settings.retention
    }

    /// One compare-and-set for every write: `change` sees the record only if the claim holds and the log ends at
    /// `previous`.
    fn write(
        &self,
        claim: &Claim,
        previous: EventId,
        batch: &[Arc<Event>],
        change: impl FnOnce(&mut Record),
    ) -> Appended {
        let mut shelf = self.shelf();
        let Some(kept) = shelf.turn(claim.turn) else { return Appended::Gone };
        if let Some(refusal) = refusal(&kept.record, claim, previous) {
            return refusal;
        }
        let cancel = kept.record.cancel;
        shelf.extend(claim.turn, batch);
        shelf.change(claim.turn, self.retention(), change);
        Appended::Ok { cancel }
    }
}

fn refusal(record: &Record, claim: &Claim, previous: EventId) -> Option<Appended> {
    if record.status.is_terminal() {
        return Some(Appended::Ended(record.status));
    }
    if !is_owner(record, claim) {
        return Some(Appended::Fenced);
    }
    (record.last != previous).then_some(Appended::Resend { from: record.last })
}

fn is_owner(record: &Record, claim: &Claim) -> bool {
    record.owner.as_ref() == Some(&claim.owner) && record.epoch == claim.epoch
}

/// The first batch of a new epoch.
fn resets(kept: &Kept, epoch: u64) -> Vec<Arc<Event>> {
    let turn = kept.record.turn;
    let personas = unfinished(&kept.record, &kept.events).into_iter();
    let reset = |persona| EventBody::ReplyReset { persona, reason: ResetReason::Takeover };
    let numbered = personas.zip(1..).map(|(persona, seq)| (EventId { epoch, seq }, reset(persona)));
    numbered.map(|(id, body)| Arc::new(Event::new(id, turn, body))).collect()
}

#[async_trait]
impl TurnLog for LocalTurnLog {
    async fn accept(&self, turn: NewTurn) -> Result<Accepted, LogUnavailable> {
        let mut shelf = self.shelf();
        if let Some(Kept { record, .. }) = shelf.turn(turn.turn) {
            let is_ours = is_owner(record, &turn.claim()) && !record.status.is_terminal();
            return Ok(if is_ours { Accepted::Ok(turn.claim()) } else { Accepted::Same(turn.turn) });
        }
        if let Some(known) = turn.idempotency.as_ref().and_then(|key| shelf.by_key(key)) {
            return Ok(known);
        }
        if let Some(kept) = shelf.current(&turn.conversation)
            && !kept.record.status.is_terminal()
        {
            return Ok(Accepted::Busy(kept.record.turn));
        }
        let life = *self.settings.deadline + self.retention();
        shelf.put(&turn, life);
        Ok(Accepted::Ok(turn.claim()))
    }

    async fn find(&self, idempotency: &Idempotency) -> Result<Option<Accepted>, LogUnavailable> {
        Ok(self.shelf().by_key(idempotency))
    }

    async fn append(
        &self,
        claim: &Claim,
        previous: EventId,
        batch: &[Arc<Event>],
    ) -> Result<Appended, LogUnavailable> {
        Ok(self.write(claim, previous, batch, |_| ()))
    }

    async fn finish(
        &self,
        claim: &Claim,
        previous: EventId,
        batch: &[Arc<Event>],
    ) -> Result<Appended, LogUnavailable> {
        let end = batch.last();
        if let Some(kept) = self.shelf().turn(claim.turn)
            && kept.record.status.is_terminal()
            && is_owner(&kept.record, claim)
            && end.is_some_and(|event| event.id == kept.record.last)
        {
            return Ok(Appended::Ok { cancel: kept.record.cancel });
        }
        let status = end.and_then(|event| end_of(event));
        Ok(self.write(claim, previous, batch, |record| record.status = status.unwrap_or(record.status)))
    }

    async fn restore(&self, claim: &Claim, copy: &LogPage) -> Result<Appended, LogUnavailable> {
        let mut shelf = self.shelf();
        let known = shelf.turn(claim.turn).map(|kept| &kept.record);
        if let Some(record) = known.filter(|record| !is_owner(record, claim)) {
            let is_over = record.status.is_terminal();
            return Ok(if is_over { Appended::Ended(record.status) } else { Appended::Fenced });
        }
        let cancel = known.and_then(|record| record.cancel);
        let life = left_of(copy.record.deadline) + self.retention();
        let mut copy = copy.clone();
        copy.record.cancel = cancel.or(copy.record.cancel);
        shelf.restore(copy, life);
        Ok(Appended::Ok { cancel })
    }

    async fn release(&self, claim: &Claim, previous: EventId) -> Result<Appended, LogUnavailable> {
        if let Some(kept) = self.shelf().turn(claim.turn)
            && (kept.record.owner.is_none() && kept.record.epoch == claim.epoch)
            && !kept.record.status.is_terminal()
        {
            return Ok(Appended::Ok { cancel: kept.record.cancel });
        }
        Ok(self.write(claim, previous, &[], |record| record.owner = None))
    }

    async fn take_over(
        &self,
        turn: TurnId,
        epoch: u64,
        owner: &ReplicaId,
    ) -> Result<TakenOver, LogUnavailable> {
        let mut shelf = self.shelf();
        let Some(kept) = shelf.turn(turn).filter(|kept| kept.record.epoch == epoch) else {
            return Ok(TakenOver::Lost);
        };
        if kept.record.status.is_terminal() {
            return Ok(TakenOver::Ended(kept.record.status));
        }
        let too_often = kept.record.takeovers >= self.settings.max_takeovers;
        let claim = Claim { turn, owner: owner.clone(), epoch: Timestamp::now().as_millis().max(epoch + 1) };
        let first = resets(kept, claim.epoch);
        shelf.extend(turn, &first);
        shelf.change(turn, self.retention(), |record| {
            record.owner = Some(claim.owner.clone());
            record.epoch = claim.epoch;
            record.takeovers = record.takeovers.saturating_add(1);
        });
        let Some(page) = shelf.turn(turn).map(|kept| kept.page(EventId::START, usize::MAX)) else {
            return Ok(TakenOver::Lost);
        };
        Ok(if too_often { TakenOver::TooOften { claim, page } } else { TakenOver::Ok { claim, page } })
    }

    async fn read(
        &self,
        turn: TurnId,
        after: EventId,
        limit: usize,
    ) -> Result<Option<LogPage>, LogUnavailable> {
        Ok(self.shelf().turn(turn).map(|kept| kept.page(after, limit)))
    }

    async fn realm_of(&self, turn: TurnId) -> Result<Option<Realm>, LogUnavailable> {
        Ok(self.shelf().turn(turn).map(|kept| kept.record.conversation.realm()))
    }

    async fn changed(&self, turn: TurnId, seen: EventId) {
        let Some(news) = self.shelf().turn(turn).map(|kept| Arc::clone(&kept.news)) else { return };
        let mut news = std::pin::pin!(news.notified());
        // From here on no change is missed, so what changed before can be looked up now.
        news.as_mut().enable();
        let waits = |record: &Record| record.last <= seen && !record.status.is_terminal();
        if self.shelf().turn(turn).is_some_and(|kept| waits(&kept.record)) {
            // Whether it was a change or the time: the caller looks.
            let _ = tokio::time::timeout(LOOK_AGAIN, news).await;
        }
    }

    async fn cancel(&self, turn: TurnId, reason: CancelReason) -> Result<Option<TurnStatus>, LogUnavailable> {
        let mut shelf = self.shelf();
        let Some(status) = shelf.turn(turn).map(|kept| kept.record.status) else { return Ok(None) };
        if !status.is_terminal() {
            shelf.change(turn, self.retention(), |record| record.cancel = record.cancel.or(Some(reason)));
        }
        Ok(Some(status))
    }

    async fn current(
        &self,
        conversation: &ConversationKey,
    ) -> Result<Option<(TurnId, TurnStatus)>, LogUnavailable> {
        Ok(self.shelf().current(conversation).map(|kept| (kept.record.turn, kept.record.status)))
    }

    async fn owned(&self, owner: Option<&ReplicaId>) -> Result<Vec<(TurnId, u64)>, LogUnavailable> {
        let shelf = self.shelf();
        let theirs = shelf.running().filter(|record| record.owner.as_ref() == owner);
        Ok(theirs.map(|record| (record.turn, record.epoch)).collect())
    }
}
