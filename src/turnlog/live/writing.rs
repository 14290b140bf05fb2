//! What the writer does with a running turn.

use super::{Live, Phase};
use crate::turnlog::journal::{Batch, Due};
use crate::turnlog::outcome::Loss;
use crate::turnlog::{Appended, LogPage};
use crate::words::EventId;

/// What the writer does next.
pub(in crate::turnlog) enum Work {
    /// The log has nothing: all of the turn, and how many events that is.
    Restore(Box<LogPage>, usize),
    Write(Batch),
    Release(EventId),
    Wait(Due),
    Over,
}

impl Live {
    pub(in crate::turnlog) fn work(&self) -> Work {
        let state = self.state();
        match (state.phase, state.journal.due()) {
            (Phase::Durable | Phase::Lost(_), _) => Work::Over,
            _ if state.is_missing => {
                Work::Restore(self.page_of(state.journal.all(), state.cancel).into(), state.journal.len())
            }
            (_, Due::Now) | (Phase::Releasing, Due::At(_)) => Work::Write(state.journal.batch()),
            (Phase::Releasing, Due::Never) => Work::Release(state.journal.last_written()),
            (Phase::Running | Phase::Finishing, due) => Work::Wait(due),
        }
    }

    /// An empty batch: still mine? cancelled?
    pub(in crate::turnlog) fn question(&self) -> Batch {
        let state = self.state();
        Batch { previous: state.journal.last_written(), events: Vec::new(), upto: state.journal.written() }
    }

    pub(in crate::turnlog) async fn woken(&self) {
        self.work.notified().await;
    }

    pub(in crate::turnlog) fn is_finishing(&self) -> bool {
        self.state().phase == Phase::Finishing
    }

    /// Takes in what a write was answered; `false` if the answer makes no sense, so that asking again needs a pause.
    pub(in crate::turnlog) fn answered(&self, upto: usize, answer: Appended) -> bool {
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
            // Given all of it after a pause: a log that loses it again and again must not be flooded.
            Appended::Gone => {
                self.state().is_missing = true;
                false
            }
        }
    }

    /// Takes in what handing over the whole turn was answered.
    pub(in crate::turnlog) fn restored(&self, upto: usize, answer: Appended) -> bool {
        match answer {
            Appended::Gone => return self.lost(Loss::Gone),
            Appended::Ok { .. } => self.state().is_missing = false,
            Appended::Resend { .. } | Appended::Fenced | Appended::Ended(_) => {}
        }
        self.answered(upto, answer)
    }

    /// The log may have lost what it confirmed of late: whether it has this turn's end is to be asked again. `false` if
    /// the turn has not ended here.
    pub(in crate::turnlog) fn doubt(&self) -> bool {
        let mut state = self.state();
        let ended = state.phase == Phase::Durable;
        if ended {
            state.phase = Phase::Finishing;
            state.journal.doubts_last();
        }
        ended
    }

    pub(in crate::turnlog) fn unavailable(&self) {
        let shows = self.state().journal.cut_off();
        self.changed(shows);
    }

    pub(in crate::turnlog) fn lost(&self, loss: Loss) -> bool {
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
