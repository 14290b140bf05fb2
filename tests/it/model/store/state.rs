//! What the store holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use polylogue::turnlog::{Accepted, Claim, Idempotency, LogPage, Record};
use polylogue::words::{
    CancelReason, ConversationKey, Event, EventBody, EventId, PersonaId, TurnId, TurnStatus,
};
use tokio::time::Instant;

/// A turn: its record, and its log as one entry per write.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) record: Record,
    pub(super) ended: Option<Instant>,
    pub(super) entries: Vec<Vec<Arc<Event>>>,
}

impl Kept {
    pub(super) fn events(&self) -> impl Iterator<Item = &Arc<Event>> {
        self.entries.iter().flatten()
    }

    /// Entries are found by their last event.
    pub(super) fn entries_after(&self, after: EventId) -> impl Iterator<Item = &Vec<Arc<Event>>> {
        let begin = self.entries.partition_point(|entry| entry.last().unwrap().id <= after);
        self.entries[begin..].iter()
    }

    pub(super) fn page(&self, after: EventId, limit: usize) -> LogPage {
        let events = self.entries_after(after).flatten().filter(|event| event.id > after);
        LogPage { record: self.record.clone(), events: events.take(limit).cloned().collect() }
    }

    pub(super) fn add(&mut self, batch: &[Arc<Event>]) {
        let Some(last) = batch.last() else { return };
        self.record.last = last.id;
        self.entries.push(batch.to_vec());
    }
}

/// Everything the log holds; cheap to copy.
#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) turns: BTreeMap<TurnId, Arc<Kept>>,
    pub(super) current: BTreeMap<ConversationKey, TurnId>,
    pub(super) keys: BTreeMap<[u8; 32], (TurnId, [u8; 32])>,
}

impl State {
    pub(super) fn record(&self, turn: TurnId) -> Option<&Record> {
        self.turns.get(&turn).map(|kept| &kept.record)
    }

    pub(super) fn runs(&self, turn: TurnId) -> bool {
        self.record(turn).is_some_and(|record| !record.status.is_terminal())
    }

    /// What led to another turn meanwhile keeps leading there: one that runs, or a newer one.
    pub(super) fn take_in(&mut self, claim: &Claim, copy: &LogPage, cancel: Option<CancelReason>) {
        let mut record = copy.record.clone();
        record.owner = Some(claim.owner.clone());
        record.cancel = cancel.or(record.cancel);
        let other = self.current.get(&record.conversation).filter(|turn| **turn != claim.turn);
        let runs = !record.status.is_terminal();
        let stays = other.is_some_and(|turn| self.runs(*turn) || (*turn > claim.turn && !runs));
        if !stays {
            self.current.insert(record.conversation.clone(), claim.turn);
        }
        if let Some(key) = &record.idempotency {
            self.keys.entry(key.key).or_insert((claim.turn, key.body));
        }
        let entries = copy.events.chunks(7).map(<[_]>::to_vec).collect();
        let ended = record.status.is_terminal().then(Instant::now);
        self.turns.insert(claim.turn, Arc::new(Kept { record, ended, entries }));
    }

    pub(super) fn by_key(&self, key: &Idempotency) -> Option<Accepted> {
        let (turn, body) = self.keys.get(&key.key).filter(|(turn, _)| self.turns.contains_key(turn))?;
        Some(if *body == key.body { Accepted::Same(*turn) } else { Accepted::OtherBody })
    }
}

pub(super) fn is_owner(record: &Record, claim: &Claim) -> bool {
    (record.owner.as_ref(), record.epoch) == (Some(&claim.owner), claim.epoch)
}

pub(super) fn status_after(event: &Event) -> Option<TurnStatus> {
    match event.body.name() {
        "turn.completed" => Some(TurnStatus::Completed),
        "turn.failed" => Some(TurnStatus::Failed),
        "turn.cancelled" => Some(TurnStatus::Cancelled),
        _ => None,
    }
}

/// Who was chosen and has no durable end.
pub(super) fn unfinished(kept: &Kept) -> Vec<PersonaId> {
    let mut open = Vec::new();
    for event in kept.events() {
        match &event.body {
            EventBody::RoutingDecided { routing } => open.clone_from(&routing.personas),
            EventBody::ReplyCompleted { persona, .. }
            | EventBody::ReplyFailed { persona, .. }
            | EventBody::ReplyCancelled { persona, .. } => open.retain(|other| other != persona),
            EventBody::ReplyReset { persona, .. } if !open.contains(persona) => open.push(persona.clone()),
            EventBody::TurnStarted { .. }
            | EventBody::ReplyStarted { .. }
            | EventBody::ReplyDelta { .. }
            | EventBody::ReplyReset { .. }
            | EventBody::TurnCompleted { .. }
            | EventBody::TurnFailed { .. }
            | EventBody::TurnCancelled { .. } => {}
        }
    }
    open
}
