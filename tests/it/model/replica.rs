//! One replica of the fleet: real turns and a real observer, over a link that can be cut.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use polylogue::fleet::{Fleet, LocalPresence, Presence as _};
use polylogue::shutdown::Shutdown;
use polylogue::turnlog::{LiveTurns, TakenOver, TurnLog as _, fold};
use polylogue::words::{ErrorCode, EventBody, Failure, ReplicaId, TurnId};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::link::Link;
use super::play::{self, Part};
use super::world::settings;

/// Signs of life between two looks for turns that are ours and do not run.
const GHOSTS_EVERY: u32 = 5;

/// How long a stopping replica waits for its turns to be given up, after their time to finish.
const HARD_AFTER: Duration = Duration::from_secs(5);

/// What is remembered from one look around to the next.
#[derive(Default)]
pub struct Lookout {
    beats: u32,
    ghosts: Vec<(TurnId, u64)>,
}

/// When replicas said goodbye or were buried.
pub type Graves = Arc<Mutex<BTreeMap<ReplicaId, Instant>>>;

pub struct Replica {
    pub link: Arc<Link>,
    pub live: Arc<LiveTurns>,
    pub shutdown: Shutdown,
    pub presence: LocalPresence,
    pub lookout: Mutex<Lookout>,
    pub was_heard_of: AtomicBool,
    pub graves: Graves,
    /// When turns must have ended; wall clocks stand still in a model.
    pub deadline: Instant,
    pub seed: u64,
}

impl Replica {
    pub fn me(&self) -> &ReplicaId {
        &self.link.me
    }

    /// Whether clients are sent here. Not before the first sign of life: if it died, nobody would miss it, nor look for its
    /// turns.
    pub fn is_open(&self) -> bool {
        let is_up = !self.link.process.is_dead() && !self.shutdown.closing().is_cancelled();
        is_up && self.was_heard_of.load(Relaxed)
    }

    /// Whether a copy of the store that is so old still tells of it, although it has gone.
    pub fn left_within(&self, behind: Duration) -> bool {
        self.graves.lock().unwrap().get(self.me()).is_some_and(|gone| gone.elapsed() <= behind)
    }

    fn is_gone(&self, who: &ReplicaId) {
        self.graves.lock().unwrap().insert(who.clone(), Instant::now());
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
            self.is_gone(self.me());
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
        self.was_heard_of.store(true, Relaxed);
        if !self.shutdown.draining().is_cancelled() {
            self.take_over_from(fleet).await;
            self.look_for_ghosts().await;
        }
    }

    async fn take_over_from(self: &Arc<Self>, fleet: Fleet) {
        for dead in &fleet.dead {
            if self.adopt_all(Some(dead)).await == Some(0) && !self.link.is_away() {
                self.presence.bury(dead).await.unwrap();
                self.is_gone(dead);
            }
        }
        self.adopt_all(None).await;
    }

    async fn adopt_all(self: &Arc<Self>, owner: Option<&ReplicaId>) -> Option<usize> {
        let turns = self.link.owned(owner).await.ok()?;
        for (turn, epoch) in &turns {
            self.adopt(*turn, *epoch).await;
        }
        Some(turns.len())
    }

    /// Turns that the log believes to be ours, that do not run here, and that were so the last time, too.
    async fn look_for_ghosts(self: &Arc<Self>) {
        let is_time = {
            let mut lookout = self.lookout.lock().unwrap();
            lookout.beats += 1;
            lookout.beats.is_multiple_of(GHOSTS_EVERY)
        };
        if !is_time {
            return;
        }
        let Ok(owned) = self.link.owned(Some(self.me())).await else { return };
        let ghosts: Vec<_> = owned.into_iter().filter(|(turn, _)| self.live.get(*turn).is_none()).collect();
        let before = std::mem::replace(&mut self.lookout.lock().unwrap().ghosts, ghosts.clone());
        for (turn, epoch) in ghosts.into_iter().filter(|ghost| before.contains(ghost)) {
            self.link.trace.note(|| format!("{} sees a ghost: {turn}", self.me()));
            if !self.live.recheck(turn) {
                self.adopt(turn, epoch).await;
            }
        }
    }

    async fn adopt(self: &Arc<Self>, turn: TurnId, epoch: u64) {
        let Ok(place) = self.live.try_reserve() else { return };
        let me = self.me().clone();
        let (claim, page, runs) = match self.link.take_over(turn, epoch, &me).await {
            Ok(TakenOver::Ok { claim, page }) => (claim, page, Instant::now() < self.deadline),
            Ok(TakenOver::TooOften { claim, page }) => (claim, page, false),
            Ok(TakenOver::Lost | TakenOver::Ended(_)) | Err(_) => return,
        };
        let (so_far, epoch) = (fold(&page.record, &page.events), claim.epoch);
        let stop = CancellationToken::new();
        let live = self.live.begin(place, claim, page, stop.clone());
        if runs {
            let rng = SmallRng::seed_from_u64(self.seed ^ epoch);
            self.spawn(play::run(Part { replica: Arc::clone(self), live, stop, rng }, so_far));
        } else {
            let error = Failure::new(ErrorCode::Internal, "Given up.");
            let me = Arc::clone(self);
            self.spawn(async move { play::end(&me, &live, EventBody::TurnFailed { error }).await });
        }
    }
}
