//! Going on with turns whose owner died or handed them over (`state.md` §3).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Chat;
use super::meter::ModelClock;
use super::state::{Task, TurnState};
use super::turns::Kept;
use crate::fleet::{Fleet, Presence};
use crate::telemetry::metrics::{ModelCause, Takeover, Transport};
use crate::turnlog::{Claim, LogPage, Place, TakenOver, fold};
use crate::words::{ErrorCode, EventBody, Failure, Timestamp, TurnId};

impl Chat {
    /// Gives signs of life until the replica stops and its last turn has ended, and takes over what others leave behind
    /// until it begins to drain.
    pub async fn tend(self: Arc<Self>, presence: Arc<dyn Presence>) {
        let mut beat = interval(*self.settings.beat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let closing = self.shutdown.closing();
        loop {
            tokio::select! {
                _ = beat.tick() => self.look_around(presence.as_ref()).await,
                // Not before its turns have ended: if it dies while they finish, others must notice.
                () = self.idle(), if closing.is_cancelled() => break,
                () = closing.cancelled(), if !closing.is_cancelled() => {}
                () = self.shutdown.hard().cancelled() => break,
            }
        }
        if let Err(error) = presence.leave().await {
            warn!(error = %error, "this replica could not say goodbye");
        }
    }

    async fn look_around(&self, presence: &dyn Presence) {
        let fleet = match presence.beat().await {
            Ok(fleet) => fleet,
            Err(error) => return warn!(error = %error, "no sign of life could be given"),
        };
        self.metrics.leases.replicas.set(&(), fleet.alive.len() as i64);
        self.runner.note_others(fleet.alive.len() > 1);
        if !self.shutdown.draining().is_cancelled() {
            self.take_over_from(fleet).await;
        }
    }

    async fn take_over_from(&self, fleet: Fleet) {
        let dead = fleet.dead.iter().map(|replica| (Some(replica), Takeover::Died));
        for (owner, reason) in dead.chain([(None, Takeover::HandedOver)]) {
            match self.log.owned(owner).await {
                Ok(turns) => {
                    for (turn, epoch) in turns {
                        self.adopt(turn, epoch, reason).await;
                    }
                }
                Err(error) => warn!(error = %error, "turns left behind could not be listed"),
            }
        }
    }

    /// Goes on with one turn, if there is room and nobody was faster.
    pub async fn adopt(&self, turn: TurnId, epoch: u64, reason: Takeover) {
        let Ok(place) = self.live.try_reserve() else { return };
        match self.log.take_over(turn, epoch, &self.replica).await {
            Ok(TakenOver::Ok { claim, page }) => {
                self.metrics.turns.takeovers.inc(&(reason,));
                info!(event = "turn_taken_over", turn_id = %turn, epoch = claim.epoch, "a turn goes on here");
                self.resume(claim, page, place).await;
            }
            Ok(TakenOver::TooOften { claim, page }) => {
                warn!(turn_id = %turn, "a turn was taken over too often and is given up");
                self.give_up(claim, page, place, ErrorCode::Internal, "The turn was interrupted too often.")
                    .await;
            }
            Ok(TakenOver::Lost | TakenOver::Ended(_)) => {}
            Err(error) => warn!(turn_id = %turn, error = %error, "a turn could not be taken over"),
        }
    }

    /// Runs a turn from its checkpoint, which is the fold of its log; one past its deadline only gets its end.
    async fn resume(&self, claim: Claim, page: LogPage, place: Place) {
        let left = page.record.deadline.as_millis().saturating_sub(Timestamp::now().as_millis());
        if left == 0 {
            let detail = "The turn did not end within its deadline.";
            return self.give_up(claim, page, place, ErrorCode::ModelTimeout, detail).await;
        }
        let kept: Kept = match serde_json::from_str(page.record.request.get()) {
            Ok(kept) => kept,
            Err(error) => {
                warn!(turn_id = %claim.turn, error = %error, "a turn's request cannot be understood here");
                let detail = "The log of the server knows more.";
                return self.give_up(claim, page, place, ErrorCode::Internal, detail).await;
            }
        };
        let (record, checkpoint) = (page.record.clone(), fold(&page.record, &page.events));
        let stop = CancellationToken::new();
        let live = self.live.begin(place, claim, page, stop.clone());
        let task = Arc::new(Task {
            turn: record.turn,
            conversation: record.conversation,
            principal: record.principal,
            request: Arc::new(kept.request),
            request_id: kept.request_id,
            transport: Transport::Json,
            arrived: Instant::now(),
            deadline: Instant::now() + Duration::from_millis(left),
            cause: ModelCause::Takeover,
            live,
            stop,
            draining: OnceLock::new(),
            clock: ModelClock::default(),
            spoke: OnceLock::new(),
        });
        self.runner.spawn(TurnState::from_checkpoint(task, checkpoint));
    }

    /// Ends a turn as failed, without running it.
    async fn give_up(&self, claim: Claim, page: LogPage, place: Place, code: ErrorCode, detail: &str) {
        let live = self.live.begin(place, claim, page, CancellationToken::new());
        live.finish(EventBody::TurnFailed { error: Failure::new(code, detail) }).await;
    }
}
