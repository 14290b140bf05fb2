//! The owner's side of a running turn.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::audience::Audience;
use super::fold::end_of;
use super::journal::{Batch, Due, Journal};
use super::outcome::{Finished, Flushed, Loss, PushError};
use super::{Appended, Claim, LogPage, Record};
use crate::config;
use crate::words::{CancelReason, Event, EventBody, EventId, TurnId, TurnStatus};

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

/// What the writer does next.
pub(super) enum Work {
    Write(Batch),
    Release(EventId),
    Wait(Due),
    Over,
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
            state: Mutex::new(State { journal, phase: Phase::Running, cancel: None, place }),
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
        let events = state.journal.shown().to_vec();
        let mut record = self.record.clone();
        record.last = events.last().map_or(record.last, |event| event.id);
        record.status = events.last().and_then(|event| end_of(event)).unwrap_or(TurnStatus::Running);
        record.cancel = state.cancel;
        LogPage { record, events }
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

/// What the writer does.
impl Live {
    pub(super) fn work(&self) -> Work {
        let state = self.state();
        match (state.phase, state.journal.due()) {
            (Phase::Durable | Phase::Lost(_), _) => Work::Over,
            (_, Due::Now) | (Phase::Releasing, Due::At(_)) => Work::Write(state.journal.batch()),
            (Phase::Releasing, Due::Never) => Work::Release(state.journal.last_written()),
            (Phase::Running | Phase::Finishing, due) => Work::Wait(due),
        }
    }

    /// An empty batch: still mine? cancelled?
    pub(super) fn question(&self) -> Batch {
        let state = self.state();
        Batch { previous: state.journal.last_written(), events: Vec::new(), upto: state.journal.written() }
    }

    pub(super) async fn woken(&self) {
        self.work.notified().await;
    }

    pub(super) fn is_finishing(&self) -> bool {
        self.state().phase == Phase::Finishing
    }

    /// Takes in what a write was answered; `false` if the answer makes no sense, so that asking again needs a pause.
    pub(super) fn answered(&self, upto: usize, answer: Appended) -> bool {
        match answer {
            Appended::Ok { cancel } => {
                self.confirmed(upto);
                cancel.into_iter().for_each(|reason| self.cancel(reason));
                true
            }
            Appended::Resend { from } => {
                let goes_on = self.state().journal.resend(from);
                self.changed(true);
                goes_on
            }
            Appended::Fenced => self.lost(Loss::Fenced),
            Appended::Ended(status) => self.lost(Loss::Ended(status)),
            Appended::Gone => self.lost(Loss::Gone),
        }
    }

    pub(super) fn unavailable(&self) {
        let shows = self.state().journal.cut_off();
        self.changed(shows);
    }

    pub(super) fn lost(&self, loss: Loss) -> bool {
        let mut state = self.state();
        if state.phase == Phase::Durable {
            return true;
        }
        state.phase = Phase::Lost(loss);
        state.place = None;
        drop(state);
        self.changed(true);
        self.cancel.cancel();
        true
    }

    fn confirmed(&self, upto: usize) {
        let mut state = self.state();
        let shows = state.journal.confirm(upto);
        if state.journal.is_written() && state.phase == Phase::Finishing {
            state.phase = Phase::Durable;
            state.place = None;
        }
        drop(state);
        self.changed(shows);
    }

    fn changed(&self, for_readers: bool) {
        if for_readers {
            self.news.notify_waiters();
        }
        self.settled.notify_waiters();
    }
}
