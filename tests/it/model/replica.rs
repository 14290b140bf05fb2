//! One replica of the fleet: real turns and a real observer, over a link that can be cut.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use polylogue::fleet::{Fleet, LocalPresence, Presence as _};
use polylogue::shutdown::Shutdown;
use polylogue::turnlog::{LiveTurns, TakenOver, TurnLog as _, fold};
use polylogue::words::{ErrorCode, EventBody, Failure, ReplicaId, TurnId};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::link::Link;
use super::play::{self, Part};
use super::world::settings;

/// How long a stopping replica waits for its turns to be given up, after their time to finish.
const HARD_AFTER: Duration = Duration::from_secs(5);

pub struct Replica {
    pub link: Arc<Link>,
    pub live: Arc<LiveTurns>,
    pub shutdown: Shutdown,
    pub presence: LocalPresence,
    /// Turns whose takeover was not answered: perhaps they are ours, and nobody runs them.
    pub doubtful: Mutex<BTreeSet<TurnId>>,
    /// When turns must have ended; wall clocks stand still in a model.
    pub deadline: Instant,
    pub seed: u64,
}

impl Replica {
    pub fn me(&self) -> &ReplicaId {
        &self.link.me
    }

    pub fn is_open(&self) -> bool {
        !self.link.process.is_dead() && !self.shutdown.closing().is_cancelled()
    }

    /// Runs something that ends with the process.
    pub fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let process = self.link.process.clone();
        self.shutdown.spawn(async move { process.within(work).await.unwrap_or_default() });
    }

    /// Ends the process at once; what it was doing had its effect, or never will.
    pub fn kill(&self) {
        self.link.process.kill();
        self.shutdown.hard().cancel();
    }

    /// Ends the process as it should be ended: turns may finish for a while, and are handed over then.
    pub async fn stop(&self, grace: Duration) {
        self.shutdown.draining().cancel();
        self.shutdown.closing().cancel();
        let ended = async {
            let _ = tokio::time::timeout(grace, self.idle()).await;
            self.shutdown.overdue().cancel();
            let _ = tokio::time::timeout(HARD_AFTER, self.idle()).await;
            self.shutdown.hard().cancel();
            // The last word of what is left: the goodbye.
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        self.link.process.within(ended).await;
        self.kill();
    }

    /// Gives signs of life and takes over what others leave behind, as the chat service does.
    pub async fn tend(self: Arc<Self>) {
        let mut beat = interval(*settings().beat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let closing = self.shutdown.closing();
        loop {
            tokio::select! {
                _ = beat.tick() => self.look_around().await,
                () = self.idle(), if closing.is_cancelled() => break,
                () = closing.cancelled(), if !closing.is_cancelled() => {}
                () = self.shutdown.hard().cancelled() => break,
            }
        }
        self.link.process.runs().await;
        // Cut off in its last writes, it must look dead to others: who says goodbye is never missed.
        let has_written_all = !self.shutdown.hard().is_cancelled();
        if has_written_all && !self.link.is_away() {
            self.presence.leave().await.unwrap();
            self.link.trace.note(|| format!("{} says goodbye", self.me()));
        }
    }

    /// Waits until nothing is owned here any more; a turn whose end is not written still is, although it has no place.
    async fn idle(&self) {
        self.live.idle().await;
        while !self.live.all().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn look_around(self: &Arc<Self>) {
        self.link.process.runs().await;
        if self.link.is_away() {
            return;
        }
        let fleet = self.presence.beat().await.unwrap();
        if !self.shutdown.draining().is_cancelled() {
            self.take_over_from(fleet).await;
        }
    }

    async fn take_over_from(self: &Arc<Self>, fleet: Fleet) {
        let dead = fleet.dead.into_iter().map(Some);
        for owner in dead.chain([None]) {
            for (turn, epoch) in self.link.owned(owner.as_ref()).await.unwrap_or_default() {
                self.adopt(turn, epoch).await;
            }
        }
        if self.doubtful.lock().unwrap().is_empty() {
            return;
        }
        let Ok(mine) = self.link.owned(Some(self.me())).await else { return };
        let doubtful = std::mem::take(&mut *self.doubtful.lock().unwrap());
        for (turn, epoch) in mine.into_iter().filter(|(turn, _)| doubtful.contains(turn)) {
            self.adopt(turn, epoch).await;
        }
    }

    async fn adopt(self: &Arc<Self>, turn: TurnId, epoch: u64) {
        let Ok(place) = self.live.try_reserve() else { return };
        let me = self.me().clone();
        let (claim, page, runs) = match self.link.take_over(turn, epoch, &me).await {
            Ok(TakenOver::Ok { claim, page }) => (claim, page, Instant::now() < self.deadline),
            Ok(TakenOver::TooOften { claim, page }) => (claim, page, false),
            Ok(TakenOver::Lost | TakenOver::Ended(_)) => return,
            Err(_) => {
                self.doubtful.lock().unwrap().insert(turn);
                return;
            }
        };
        let (so_far, epoch) = (fold(&page.record, &page.events), claim.epoch);
        let stop = CancellationToken::new();
        let live = self.live.begin(place, claim, page, stop.clone());
        if runs {
            let rng = StdRng::seed_from_u64(self.seed ^ epoch);
            self.spawn(play::run(Part { replica: Arc::clone(self), live, stop, rng }, so_far));
        } else {
            let error = Failure::new(ErrorCode::Internal, "Given up.");
            let me = Arc::clone(self);
            self.spawn(async move { play::end(&me, &live, EventBody::TurnFailed { error }).await });
        }
    }
}
