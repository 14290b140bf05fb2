//! The owner's copy of a turn's log: what was said, what the durable log has of it, and what readers may see of it.
//! Three marks on one list, `written ≤ shown ≤ len`; no waiting and no locks here.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config;
use crate::words::{Event, EventBody, EventId, TurnId};

/// Pending events, or bytes of them, that are not kept waiting for more (`state.md` §1.3).
const FULL_BATCH: Size = Size { events: 64, bytes: 64 * 1024 };

/// A batch grows up to this while a slow write holds it back; as many events as a reader takes at once.
const LARGEST_BATCH: Size = Size { events: 256, bytes: 256 * 1024 };

/// What the bounds of a turn keep free for the events that end it: some for each persona, and for the turn itself.
const RESERVE: Size = Size { events: 64, bytes: 32 * 1024 };

/// The turn's log has no room for more than its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the turn's log is full")]
pub struct TurnFull;

#[derive(Clone, Copy, Debug, Default)]
struct Size {
    events: usize,
    bytes: usize,
}

impl Size {
    fn is_within(self, bound: Self) -> bool {
        self.events < bound.events && self.bytes < bound.bytes
    }
}

/// What a push did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pushed {
    pub(super) id: EventId,
    /// Readers have something to see.
    pub(super) shows: bool,
    /// The writer has something to do that it does not know of.
    pub(super) wakes: bool,
}

/// When what is pending is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Now,
    At(Instant),
    /// Nothing is pending.
    Never,
}

/// What is written next.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) previous: EventId,
    pub(super) events: Vec<Arc<Event>>,
    /// How many events the log has when it has these.
    pub(super) upto: usize,
}

#[derive(Debug)]
pub(super) struct Journal {
    turn: TurnId,
    epoch: u64,
    events: Vec<Arc<Event>>,
    /// So many events the durable log has.
    written: usize,
    /// So many events readers may see.
    shown: usize,
    /// Up to here there are events that must not wait for more.
    firm: usize,
    bytes: usize,
    pending_bytes: usize,
    /// Text of deltas that a `reply.completed` will repeat.
    owed: usize,
    flush_at: Option<Instant>,
    /// When the log last had everything.
    complete_at: Instant,
    flush_interval: Duration,
    bound: Size,
    /// The durable log cannot be reached: nothing waits for it.
    cut_off: bool,
}

impl Journal {
    /// Begins with events the durable log has.
    pub(super) fn new(turn: TurnId, epoch: u64, events: Vec<Arc<Event>>, settings: &config::Turns) -> Self {
        let most = Size { events: settings.max_events.get(), bytes: settings.max_bytes.0 };
        let bound = Size {
            events: most.events - RESERVE.events.min(most.events / 2),
            bytes: most.bytes - RESERVE.bytes.min(most.bytes / 2),
        };
        let (known, bytes) = (events.len(), bytes_of(&events));
        Self {
            turn,
            epoch,
            events,
            written: known,
            shown: known,
            firm: known,
            bytes,
            pending_bytes: 0,
            owed: 0,
            flush_at: None,
            complete_at: Instant::now(),
            flush_interval: *settings.flush_interval,
            bound,
            cut_off: false,
        }
    }

    /// Numbers an event and takes it in. What ends a reply or the turn always fits.
    pub(super) fn push(&mut self, body: EventBody) -> Result<Pushed, TurnFull> {
        let event = Event::new(self.next_id(), self.turn, body);
        let size = event.size();
        if !ends_something(&event.body) && !self.has_room_for(&event, size) {
            return Err(TurnFull);
        }
        let (id, is_delta) = (event.id, event.body.is_delta());
        let (was_idle, was_due) = (self.is_written(), self.is_full() || self.is_urgent());
        self.owe(&event.body);
        self.bytes += size;
        self.pending_bytes += size;
        self.events.push(Arc::new(event));
        if !is_delta {
            self.firm = self.events.len();
        }
        if was_idle {
            self.complete_at = Instant::now();
            self.flush_at = Some(Instant::now() + self.flush_interval);
        }
        let wakes = was_idle || (!was_due && (self.is_full() || self.is_urgent()));
        Ok(Pushed { id, shows: self.show(), wakes })
    }

    /// The durable log has the first `upto` events; says whether readers have something to see.
    pub(super) fn confirm(&mut self, upto: usize) -> bool {
        self.cut_off = false;
        self.mark_written(upto);
        let is_news = upto > self.shown;
        self.shown = self.shown.max(upto);
        self.show() || is_news
    }

    /// The durable log ends at `from`; `false` if this journal has no such event, or had known.
    pub(super) fn resend(&mut self, from: EventId) -> bool {
        let upto = self.events.partition_point(|event| event.id <= from);
        let is_ours = upto.checked_sub(1).and_then(|at| self.events.get(at)).is_some_and(|e| e.id == from);
        let is_news = upto != self.written;
        if is_ours && is_news {
            self.confirm(upto);
        }
        is_ours && is_news
    }

    /// The durable log did not answer: readers are shown everything meanwhile. Says whether that is something.
    pub(super) fn cut_off(&mut self) -> bool {
        self.cut_off = true;
        self.show()
    }

    /// The durable log has nothing of this turn.
    pub(super) fn is_unwritten(&mut self) {
        self.mark_written(0);
    }

    /// Whether the durable log has the last event is to be asked again.
    pub(super) fn doubts_last(&mut self) {
        self.mark_written(self.events.len().saturating_sub(1));
        self.firm = self.events.len();
    }

    /// Everything, seen or not.
    pub(super) fn all(&self) -> &[Arc<Event>] {
        &self.events
    }

    pub(super) fn is_cut_off(&self) -> bool {
        self.cut_off
    }

    pub(super) fn is_written(&self) -> bool {
        self.written == self.events.len()
    }

    /// For how long something has been waiting for the log.
    pub(super) fn unconfirmed_for(&self) -> Option<Duration> {
        (!self.is_written()).then(|| self.complete_at.elapsed())
    }

    pub(super) fn due(&self) -> Due {
        if self.is_written() {
            return Due::Never;
        }
        match self.flush_at {
            Some(at) if !self.is_urgent() && !self.is_full() && at > Instant::now() => Due::At(at),
            Some(_) | None => Due::Now,
        }
    }

    /// What is pending, as much of it as goes into one write; empty if nothing is.
    pub(super) fn batch(&self) -> Batch {
        let mut size = Size::default();
        let fits = |event: &&Arc<Event>| {
            let fits = size.is_within(LARGEST_BATCH);
            size = Size { events: size.events + 1, bytes: size.bytes + event.size() };
            fits
        };
        let events: Vec<_> = self.events[self.written..].iter().take_while(fits).cloned().collect();
        let upto = self.written + events.len();
        Batch { previous: self.last_written(), events, upto }
    }

    pub(super) fn last_written(&self) -> EventId {
        self.written
            .checked_sub(1)
            .and_then(|at| self.events.get(at))
            .map_or(EventId::START, |event| event.id)
    }

    pub(super) fn written(&self) -> usize {
        self.written
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// What readers may see.
    pub(super) fn shown(&self) -> &[Arc<Event>] {
        &self.events[..self.shown]
    }

    fn next_id(&self) -> EventId {
        let last = self.events.last().map(|event| event.id).filter(|last| last.epoch == self.epoch);
        last.unwrap_or(EventId::before(self.epoch)).next()
    }

    fn has_room_for(&self, event: &Event, size: usize) -> bool {
        let text = if let EventBody::ReplyDelta { text, .. } = &event.body { text.len() } else { 0 };
        let then = Size { events: self.events.len(), bytes: self.bytes + size + self.owed + text };
        then.is_within(self.bound)
    }

    fn owe(&mut self, body: &EventBody) {
        if let EventBody::ReplyDelta { text, .. } = body {
            self.owed += text.len();
        }
        if let EventBody::ReplyCompleted { content, .. } | EventBody::ReplyCancelled { content, .. } = body {
            self.owed = self.owed.saturating_sub(content.len());
        }
    }

    /// A delta may be seen as soon as everything before it is; anything else when it is written, or when nobody can say.
    fn show(&mut self) -> bool {
        let before = self.shown;
        while self.events.get(self.shown).is_some_and(|event| self.cut_off || event.body.is_delta()) {
            self.shown += 1;
        }
        self.shown > before
    }

    fn mark_written(&mut self, upto: usize) {
        let (from, to) = (self.written.min(upto), self.written.max(upto));
        let between = bytes_of(&self.events[from..to]);
        self.pending_bytes = if upto > self.written {
            self.pending_bytes.saturating_sub(between)
        } else {
            self.pending_bytes + between
        };
        self.written = upto;
        // What came while a write was under way begins to wait now: deltas alone never cause more than one write
        // per interval.
        self.flush_at = Some(Instant::now() + self.flush_interval);
    }

    fn is_urgent(&self) -> bool {
        self.firm > self.written
    }

    fn is_full(&self) -> bool {
        let pending = Size { events: self.events.len() - self.written, bytes: self.pending_bytes };
        !pending.is_within(FULL_BATCH)
    }
}

fn ends_something(body: &EventBody) -> bool {
    let ends_reply = matches!(
        body,
        EventBody::ReplyCompleted { .. } | EventBody::ReplyFailed { .. } | EventBody::ReplyCancelled { .. }
    );
    ends_reply || body.is_terminal()
}

fn bytes_of(events: &[Arc<Event>]) -> usize {
    events.iter().map(|event| event.size()).sum()
}
