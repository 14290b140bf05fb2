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
use crate::fleet::{Fleet, FleetSize, FleetUnavailable, Presence};
use crate::telemetry::metrics::{Label as _, Metrics, ModelCause, Takeover, Transport};
use crate::telemetry::{Chain, Quiet};
use crate::turnlog::{Claim, LogPage, Place, TakenOver, fold};
use crate::words::{ErrorCode, EventBody, Failure, ReplicaId, Timestamp, TurnId};

/// Signs of life between two looks for turns that are ours and do not run; one that was seen twice is no turn that is
/// just about to begin or to end.
const LOOK_FOR_GHOSTS_EVERY: u32 = 5;

/// Lines about signs of life that could not be given, a minute: an outage has one each second.
const LINES_A_MINUTE: u32 = 2;

/// What is remembered from one look around to the next.
struct Lookout {
    beats: u32,
    /// Turns that the log believes to be ours and that do not run here.
    ghosts: Vec<(TurnId, u64)>,
    silence: Quiet,
}

impl Lookout {
    fn new() -> Self {
        Self { beats: 0, ghosts: Vec::new(), silence: Quiet::new("no_sign_of_life", LINES_A_MINUTE) }
    }

    fn no_sign(&self, error: &FleetUnavailable, metrics: &Metrics) {
        if let Some(suppressed) = self.silence.line(&metrics.process) {
            warn!(event = "no_sign_of_life", suppressed, error = %Chain(error), "no sign of life could be given");
        }
    }

    fn is_time_for_ghosts(&mut self) -> bool {
        self.beats += 1;
        self.beats.is_multiple_of(LOOK_FOR_GHOSTS_EVERY)
    }

    /// Those that were seen the last time, too.
    fn seen_again(&mut self, now: Vec<(TurnId, u64)>) -> Vec<(TurnId, u64)> {
        let before = std::mem::replace(&mut self.ghosts, now);
        self.ghosts.iter().filter(|turn| before.contains(turn)).copied().collect()
    }
}

impl Chat {
    /// Gives signs of life until the replica stops and its last turn has ended, and takes over what others leave behind
    /// until it begins to drain.
    pub async fn tend(self: Arc<Self>, presence: Arc<dyn Presence>, size: Arc<FleetSize>) {
        let mut lookout = Lookout::new();
        let mut beat = interval(*self.settings.beat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let closing = self.shutdown.closing();
        loop {
            tokio::select! {
                _ = beat.tick() => self.look_around(presence.as_ref(), &size, &mut lookout).await,
                // Not before its turns are written: until then others must notice if it dies.
                () = self.live.written(), if closing.is_cancelled() => break,
                () = closing.cancelled(), if !closing.is_cancelled() => {}
                // Whatever is not written by now is found by those who miss this replica.
                () = self.shutdown.hard().cancelled() => return,
            }
        }
        if let Err(error) = presence.leave().await {
            warn!(event = "goodbye_failed", error = %Chain(&error), "this replica could not say goodbye");
        }
    }

    async fn look_around(&self, presence: &dyn Presence, size: &FleetSize, lookout: &mut Lookout) {
        self.metrics.turn_log.unconfirmed.set(&(), self.live.unconfirmed_for().as_secs() as i64);
        let fleet = match presence.beat().await {
            Ok(fleet) => fleet,
            Err(error) => return lookout.no_sign(&error, &self.metrics),
        };
        self.metrics.leases.replicas.set(&(), fleet.alive.len() as i64);
        size.set(fleet.alive.len());
        self.runner.note_others(fleet.alive.len() > 1);
        if !self.shutdown.draining().is_cancelled() {
            self.take_over_from(presence, fleet).await;
            self.look_for_ghosts(lookout).await;
        }
    }

    async fn take_over_from(&self, presence: &dyn Presence, fleet: Fleet) {
        let until = Instant::now() + *self.settings.beat;
        for dead in &fleet.dead {
            let left = self.adopt_all(Some(dead), Takeover::Died, until).await;
            if left == Some(0)
                && let Err(error) = presence.bury(dead).await
            {
                warn!(event = "takeover_failed", error = %Chain(&error), "a dead replica could not be forgotten");
            }
        }
        self.adopt_all(None, Takeover::HandedOver, until).await;
    }

    /// Goes on with what `owner` has left behind, as far as there is room and time: who takes over and gives no sign of life
    /// meanwhile is taken for dead, too, so the rest waits for the next look around. How much that was, if it could be
    /// listed.
    async fn adopt_all(&self, owner: Option<&ReplicaId>, reason: Takeover, until: Instant) -> Option<usize> {
        let turns = match self.log.owned(owner).await {
            Ok(turns) => turns,
            Err(error) => {
                warn!(event = "takeover_failed", error = %Chain(&error), "turns left behind could not be listed");
                return None;
            }
        };
        for (turn, epoch) in &turns {
            if Instant::now() >= until {
                break;
            }
            self.adopt(*turn, *epoch, reason).await;
        }
        Some(turns.len())
    }

    /// Turns that the log believes to be ours and that do not run here: an answer that said so got lost.
    async fn look_for_ghosts(&self, lookout: &mut Lookout) {
        if !lookout.is_time_for_ghosts() {
            return;
        }
        let Ok(owned) = self.log.owned(Some(&self.replica)).await else { return };
        let strange = owned.into_iter().filter(|(turn, _)| self.live.get(*turn).is_none());
        for (turn, epoch) in lookout.seen_again(strange.collect()) {
            if !self.live.recheck(turn) {
                self.adopt(turn, epoch, Takeover::Died).await;
            }
        }
    }

    /// Goes on with one turn, if there is room and nobody was faster.
    pub async fn adopt(&self, turn: TurnId, epoch: u64, reason: Takeover) {
        let Ok(place) = self.live.try_reserve() else { return };
        match self.log.take_over(turn, epoch, &self.replica).await {
            Ok(TakenOver::Ok { claim, page }) => {
                self.metrics.turns.takeovers.inc(&(reason,));
                info!(event = "turn_taken_over", turn_id = %turn, epoch = claim.epoch, reason = reason.as_label(), "a turn goes on here");
                self.resume(claim, page, place).await;
            }
            Ok(TakenOver::TooOften { claim, page }) => {
                warn!(event = "takeover_given_up", turn_id = %turn, "a turn was taken over too often and is given up");
                self.give_up(claim, page, place, ErrorCode::Internal, "The turn was interrupted too often.")
                    .await;
            }
            Ok(TakenOver::Lost | TakenOver::Ended(_)) => {}
            Err(error) => {
                warn!(event = "takeover_failed", turn_id = %turn, error = %Chain(&error), "a turn could not be taken over")
            }
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
                warn!(event = "takeover_given_up", turn_id = %claim.turn, error = %Chain(&error), "a turn's request cannot be understood here");
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
            personas: kept.allowed_personas,
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
            broke: OnceLock::new(),
            follows: kept.trace.and_then(|trace| trace.parse().ok()),
        });
        self.runner.spawn(TurnState::from_checkpoint(task, checkpoint));
    }

    /// Ends a turn as failed, without running it.
    async fn give_up(&self, claim: Claim, page: LogPage, place: Place, code: ErrorCode, detail: &str) {
        let live = self.live.begin(place, claim, page, CancellationToken::new());
        live.finish(EventBody::TurnFailed { error: Failure::new(code, detail) }).await;
    }
}
