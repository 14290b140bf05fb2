//! The task that brings a turn's events into the durable log: one write in flight, whatever the log answers.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::fold::end_of;
use super::journal::{Batch, Due};
use super::live::{Live, Work};
use super::outcome::Loss;
use super::{Appended, LogPage, LogUnavailable, TurnLog};
use crate::resilience::jittered;
use crate::telemetry::metrics::{AppendOutcome, Metrics};
use crate::words::EventId;

/// How long one write may take in all; above what Redis' time-outs and attempts add up to (2 s), so that it only ever
/// cuts off an implementation that hangs.
const WRITE_CEILING: Duration = Duration::from_secs(3);

/// Pauses between attempts while the log cannot be reached: the first, and the longest. Drawn from the upper half, so that
/// the turns of a replica do not come back all at once.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Writes a turn until the log has its end or it is lost.
pub(super) struct Writer {
    pub(super) live: Arc<Live>,
    pub(super) log: Arc<dyn TurnLog>,
    pub(super) metrics: Arc<Metrics>,
    /// After so much silence the log is asked whether the turn is still ours and wanted.
    pub(super) ask_every: Duration,
    /// Nothing is written after this; the turn's deadline and some time for the log to come back.
    pub(super) until: Instant,
    /// Places for turns that have ended and are not written yet.
    pub(super) unconfirmed: Arc<Semaphore>,
    /// The log has just asked for events again; doing so twice in a row is no progress.
    pub(super) resent: bool,
    /// A write that took longer than this says that this replica stood still (half of `turns.lease`): another may own the
    /// turn by now.
    pub(super) standstill: Duration,
    /// When the write in flight began.
    pub(super) began: Instant,
    /// The last write failed after a standstill, and what it failed of says nothing of the log.
    pub(super) doubted: bool,
}

impl Writer {
    /// Writes until the turn is over here.
    pub(super) async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        let mut ask_at = Instant::now() + self.ask_every;
        let mut waits_in: Option<OwnedSemaphorePermit> = None;
        loop {
            let now = Instant::now();
            self.began = now;
            let answered = match self.live.work() {
                Work::Over => return,
                _ if now >= self.until => return self.give_up(),
                Work::Restore(copy, upto) => self.restore(&copy, upto).await,
                Work::Write(batch) => self.write(batch).await,
                Work::Release(previous) => self.release(previous).await,
                Work::Wait(_) if now >= ask_at => self.write(self.live.question()).await,
                Work::Wait(due) => {
                    self.wait(due, ask_at).await;
                    continue;
                }
            };
            ask_at = Instant::now() + self.ask_every;
            if answered {
                pause = FIRST_PAUSE;
                continue;
            }
            if self.live.is_finishing() && waits_in.is_none() {
                waits_in = Arc::clone(&self.unconfirmed).try_acquire_owned().ok();
                if waits_in.is_none() {
                    return self.give_up();
                }
            }
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn wait(&self, due: Due, ask_at: Instant) {
        let at = match due {
            Due::At(at) => at.min(ask_at),
            Due::Now | Due::Never => ask_at,
        };
        tokio::select! {
            () = self.live.woken() => {}
            () = tokio::time::sleep_until(at.min(self.until)) => {}
        }
    }

    async fn write(&mut self, batch: Batch) -> bool {
        let Batch { previous, events, upto } = batch;
        let claim = self.live.claim();
        let ends = events.last().is_some_and(|event| end_of(event).is_some());
        let write = if ends {
            self.log.finish(claim, previous, &events)
        } else {
            self.log.append(claim, previous, &events)
        };
        let answer = tokio::time::timeout(WRITE_CEILING, write).await;
        self.answered(upto, answer.unwrap_or_else(|late| Err(LogUnavailable(late.into()))))
    }

    async fn restore(&mut self, copy: &LogPage, upto: usize) -> bool {
        let restore = self.log.restore(self.live.claim(), copy);
        match tokio::time::timeout(WRITE_CEILING, restore).await {
            Ok(Ok(answer)) => {
                self.metrics.turn_log.appends.inc(&(outcome(answer),));
                if outcome(answer) == AppendOutcome::Ok {
                    tracing::info!(event = "turn_restored", turn_id = %self.live.turn(), events = upto, "the log has the whole turn again");
                }
                self.log_fence(answer);
                self.live.restored(upto, answer)
            }
            Ok(unavailable) => self.answered(upto, unavailable),
            Err(late) => self.answered(upto, Err(LogUnavailable(late.into()))),
        }
    }

    async fn release(&mut self, previous: EventId) -> bool {
        let release = self.log.release(self.live.claim(), previous);
        match tokio::time::timeout(WRITE_CEILING, release).await {
            Ok(Ok(Appended::Ok { .. })) => self.live.lost(Loss::Released),
            Ok(answer) => self.answered(self.live.question().upto, answer),
            Err(late) => self.answered(0, Err(LogUnavailable(late.into()))),
        }
    }

    /// Takes in an answer; `false` if the next attempt must wait a while.
    fn answered(&mut self, upto: usize, answer: Result<Appended, LogUnavailable>) -> bool {
        match answer {
            Ok(answer) => {
                self.doubted = false;
                self.metrics.turn_log.appends.inc(&(outcome(answer),));
                self.log_fence(answer);
                let resends = outcome(answer) == AppendOutcome::Resend;
                let again = std::mem::replace(&mut self.resent, resends) && resends;
                self.live.answered(upto, answer) && !again
            }
            Err(error) => {
                tracing::debug!(turn_id = %self.live.turn(), error = %error.0, "a write to the turn log failed");
                // After a standstill the dead-line of the write has passed, whatever the log did. Readers are shown what is
                // not written only when a second attempt fails as well.
                let stood_still = !self.doubted && self.began.elapsed() > self.standstill;
                self.doubted = stood_still;
                if !stood_still {
                    self.live.unavailable();
                }
                stood_still
            }
        }
    }

    fn log_fence(&self, answer: Appended) {
        if outcome(answer) == AppendOutcome::Fenced {
            let (turn, epoch) = (self.live.turn(), self.live.claim().epoch);
            tracing::warn!(event = "turn_fenced", turn_id = %turn, epoch, "another replica owns the turn");
        }
    }

    fn give_up(&self) {
        self.metrics.turn_log.lost.inc(&());
        tracing::warn!(event = "turn_lost", turn_id = %self.live.turn(), "the end of a turn was not written to the turn log");
        self.live.lost(Loss::GivenUp);
    }
}

fn outcome(answer: Appended) -> AppendOutcome {
    match answer {
        Appended::Ok { .. } => AppendOutcome::Ok,
        Appended::Resend { .. } => AppendOutcome::Resend,
        Appended::Fenced => AppendOutcome::Fenced,
        Appended::Ended(_) => AppendOutcome::Ended,
        Appended::Gone => AppendOutcome::Gone,
    }
}
