//! The owner's side of a running turn.

mod writing;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::audience::Audience;
use super::fold::end_of;
use super::journal::Journal;
use super::outcome::{Finished, Flushed, Loss, PushError};
use super::{Claim, LogPage, Record};
use crate::config;
use crate::words::{CancelReason, Event, EventBody, EventId, Realm, TurnId, TurnStatus};
pub(super) use writing::Work;

/// How far this owner is with the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// The terminal event was pushed.
    Finishing,
    /// What was pushed is written, then the turn is given up.
    Releasing,
    /// The log has everything, the end too.
    Durable,
    Lost(Loss),
}

struct State {
    journal: Journal,
    phase: Phase,
    cancel: Option<CancelReason>,
    /// The log does not have the turn: it was begun without it, or lost by it.
    is_missing: bool,
    /// The turn's place on this replica, until it no longer works on it.
    place: Option<OwnedSemaphorePermit>,
}

/// A turn as its owner has it in memory: numbers events, shows them to local readers, and keeps what the writer has
/// still to write. Nothing here waits for the durable log but [`Live::flush`], [`Live::finish`] and [`Live::release`].
pub struct Live {
    claim: Claim,
    record: Record,
    state: Mutex<State>,
    news: Notify,
    settled: Notify,
    work: Notify,
    cancel: CancellationToken,
    audience: Audience,
}

/// What a reader at some place finds.
pub(super) enum Seen {
    Event(Arc<Event>, usize),
    /// Nothing yet.
    Wait,
    /// The turn has ended and everything was seen.
    End(EventId),
    /// The durable log knows more than this copy.
    Elsewhere,
}

impl Live {
    /// Begins with what the durable log has; `cancel` fires when the turn should stop: cancelled, or lost.
    pub(super) fn new(
        claim: Claim,
        page: LogPage,
        settings: &config::Turns,
        cancel: CancellationToken,
        place: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let LogPage { record, events } = page;
        let journal = Journal::new(claim.turn, claim.epoch, events, settings);
        let live = Self {
            claim,
            state: Mutex::new(State {
                journal,
                phase: Phase::Running,
                cancel: None,
                is_missing: false,
                place,
            }),
            news: Notify::new(),
            settled: Notify::new(),
            work: Notify::new(),
            cancel,
            audience: Audience::default(),
            record,
        };
        live.record.cancel.into_iter().for_each(|reason| live.cancel(reason));
        live
    }

    /// The turn.
    pub fn turn(&self) -> TurnId {
        self.claim.turn
    }

    /// The right by which it is written.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// The turn is begun without the log, which cannot be reached: it is given all of it when it is back.
    pub(super) fn begins_alone(&self) {
        let mut state = self.state();
        state.is_missing = true;
        state.journal.is_unwritten();
        let _ = state.journal.cut_off();
    }

    /// Whether the log has nothing of this turn, as far as is known here: nobody else could go on with it.
    pub fn is_alone(&self) -> bool {
        self.state().is_missing
    }

    /// Adds an event to the turn, and says which it is. Never waits.
    pub fn push(&self, body: EventBody) -> Result<EventId, PushError> {
        self.take_in(body, Phase::Running)
    }

    /// Waits until the durable log has everything pushed so far: a checkpoint.
    pub async fn flush(&self) -> Flushed {
        let upto = self.state().journal.len();
        self.settle(|state| match state.phase {
            Phase::Lost(loss) => Some(Flushed::Lost(loss)),
            Phase::Durable => Some(Flushed::Durable),
            Phase::Running | Phase::Finishing | Phase::Releasing if state.journal.written() >= upto => {
                Some(Flushed::Durable)
            }
            Phase::Running | Phase::Finishing | Phase::Releasing => {
                state.journal.is_cut_off().then_some(Flushed::Unconfirmed)
            }
        })
        .await
    }

    /// Ends the turn with its terminal event, and waits until the durable log has it, or cannot be reached. Asked again,
    /// it answers how the first end went.
    pub async fn finish(&self, terminal: EventBody) -> Finished {
        debug_assert!(terminal.is_terminal(), "a turn ends with a terminal event");
        // Refused only when the turn is over already, and then that is the answer.
        let _ = self.take_in(terminal, Phase::Finishing);
        let finished = self.over().await;
        self.state().place = None;
        finished
    }

    /// Gives the turn up for others to take over, after what was pushed is written: a planned stop. Returns once it is
    /// over here; `Unconfirmed` if the log cannot be reached: then nobody knows that the turn is free.
    pub async fn release(&self) -> Finished {
        self.stop_taking();
        self.work.notify_one();
        self.over().await
    }

    /// Fires the turn's token with a reason; the first one counts. For a cancel that arrives where the turn runs; one from
    /// elsewhere comes with the next write.
    pub fn cancel(&self, reason: CancelReason) {
        self.state().cancel.get_or_insert(reason);
        self.cancel.cancel();
    }

    /// Why the turn should end, if somebody asked for that.
    pub fn cancel_reason(&self) -> Option<CancelReason> {
        self.state().cancel
    }

    /// Why the turn is no longer this owner's, if it is not.
    pub fn loss(&self) -> Option<Loss> {
        match self.state().phase {
            Phase::Lost(loss) => Some(loss),
            Phase::Running | Phase::Finishing | Phase::Releasing | Phase::Durable => None,
        }
    }

    /// The turn and its events as readers may see them.
    pub fn page(&self) -> LogPage {
        let state = self.state();
        self.page_of(state.journal.shown(), state.cancel)
    }

    fn page_of(&self, events: &[Arc<Event>], cancel: Option<CancelReason>) -> LogPage {
        let mut record = self.record.clone();
        record.last = events.last().map_or(record.last, |event| event.id);
        record.status = events.last().and_then(|event| end_of(event)).unwrap_or(TurnStatus::Running);
        record.cancel = cancel;
        LogPage { record, events: events.to_vec() }
    }

    /// For how long the oldest event that the log has not confirmed has been waiting; `None` if it has all.
    pub(super) fn unconfirmed_for(&self) -> Option<Duration> {
        self.state().journal.unconfirmed_for()
    }

    /// How many readers follow the turn here.
    pub fn readers(&self) -> usize {
        self.audience.readers()
    }

    /// Waits until nobody has read for so long, since the last reader left by itself.
    pub async fn abandoned_for(&self, long: Duration) {
        self.audience.abandoned_for(long).await;
    }

    fn take_in(&self, body: EventBody, then: Phase) -> Result<EventId, PushError> {
        let mut state = self.state();
        if state.phase != Phase::Running {
            return Err(PushError::Over);
        }
        let pushed = state.journal.push(body)?;
        state.phase = then;
        drop(state);
        if pushed.shows {
            self.news.notify_waiters();
        }
        if pushed.wakes {
            self.work.notify_one();
        }
        Ok(pushed.id)
    }

    fn stop_taking(&self) {
        let mut state = self.state();
        if state.phase == Phase::Running {
            state.phase = Phase::Releasing;
        }
    }

    async fn over(&self) -> Finished {
        self.settle(|state| match state.phase {
            Phase::Lost(loss) => Some(Finished::Lost(loss)),
            Phase::Durable => Some(Finished::Durable),
            Phase::Running | Phase::Finishing | Phase::Releasing => {
                state.journal.is_cut_off().then_some(Finished::Unconfirmed)
            }
        })
        .await
    }

    async fn settle<T>(&self, look: impl Fn(&State) -> Option<T>) -> T {
        loop {
            let mut settled = std::pin::pin!(self.settled.notified());
            settled.as_mut().enable();
            if let Some(answer) = look(&self.state()) {
                return answer;
            }
            settled.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What readers do.
impl Live {
    /// Whose the turn is.
    pub fn realm(&self) -> Realm {
        self.record.conversation.realm()
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// The newest event a reader may see, and whether it ends the turn.
    pub(super) fn newest(&self) -> Option<(EventId, bool)> {
        self.state().journal.shown().last().map(|event| (event.id, event.body.is_terminal()))
    }

    pub(super) fn index_after(&self, position: EventId) -> usize {
        self.state().journal.shown().partition_point(|event| event.id <= position)
    }

    /// Looks for the first event above `position`, which is not before `index`.
    pub(super) fn look(&self, index: usize, position: EventId) -> Seen {
        let state = self.state();
        if matches!(state.phase, Phase::Lost(_)) {
            return Seen::Elsewhere;
        }
        let shown = state.journal.shown();
        // More than one step only for a position ahead of what there was.
        let ahead = shown.get(index..).unwrap_or_default().iter().take_while(|event| event.id <= position);
        let index = index + ahead.count();
        match (shown.get(index), shown.last()) {
            (Some(event), _) => Seen::Event(Arc::clone(event), index + 1),
            (None, Some(last)) if last.body.is_terminal() => Seen::End(last.id),
            (None, _) => Seen::Wait,
        }
    }

    pub(super) fn news(&self) -> &Notify {
        &self.news
    }

    pub(super) fn audience(&self) -> &Audience {
        &self.audience
    }
}
