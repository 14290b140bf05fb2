//! The turns that are owned here, and the way to read any turn, here or elsewhere.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::live::Live;
use super::outcome::Loss;
use super::reader::{PAGE, ReadError, Reader};
use super::writer::Writer;
use super::{Accepted, Claim, Idempotency, LogPage, NewTurn, TurnLog};
use crate::config;
use crate::redis::Resync;
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::Metrics;
use crate::words::{ConversationKey, EventId, Timestamp, TurnId};

/// For how long an ended turn is kept here where the log may turn out to have lost its end (`state.md` §1.7), and how many.
const DOUBTED_FOR: Duration = Duration::from_secs(60);
const MOST_DOUBTED: usize = 1000;

/// This replica runs all the turns it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all places for turns are taken")]
pub struct Overloaded;

/// Room for one more turn on this replica, until it is dropped or the turn that took it is over.
#[derive(Debug)]
pub struct Place(OwnedSemaphorePermit);

/// Every turn owned here. Made once by the composition root, shared by all.
pub struct LiveTurns {
    log: Arc<dyn TurnLog>,
    settings: config::Turns,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    turns: Mutex<HashMap<TurnId, Arc<Live>>>,
    places: Arc<Semaphore>,
    unconfirmed: Arc<Semaphore>,
    /// Tells when a turn is no longer owned here.
    left: Notify,
    /// Turns that ended here of late, while the log may lose what it confirmed.
    recent: Mutex<VecDeque<(Instant, Arc<Live>)>>,
}

impl LiveTurns {
    /// Owns no turn yet.
    pub fn new(
        log: Arc<dyn TurnLog>,
        settings: config::Turns,
        metrics: Arc<Metrics>,
        shutdown: Shutdown,
    ) -> Arc<Self> {
        let most = settings.max_concurrent.get();
        let turns = Mutex::default();
        let (places, unconfirmed) = (Arc::new(Semaphore::new(most)), Arc::new(Semaphore::new(most)));
        let (doubts, recent) = (log.doubts(), Mutex::default());
        let live = Arc::new(Self {
            log,
            settings,
            metrics,
            shutdown,
            turns,
            places,
            unconfirmed,
            left: Notify::new(),
            recent,
        });
        doubts.into_iter().for_each(|doubts| live.shutdown.spawn(Arc::clone(&live).doubt(doubts)));
        live
    }

    /// The durable log beneath.
    pub fn log(&self) -> &Arc<dyn TurnLog> {
        &self.log
    }

    /// Takes room for a turn, or says at once that there is none. Taken before the turn is accepted or taken over.
    pub fn try_reserve(&self) -> Result<Place, Overloaded> {
        Arc::clone(&self.places).try_acquire_owned().map(Place).map_err(|_| Overloaded)
    }

    /// For how long the oldest event that the log has not confirmed has been waiting for it.
    pub fn unconfirmed_for(&self) -> Duration {
        self.turns().values().filter_map(|live| live.unconfirmed_for()).max().unwrap_or_default()
    }

    /// How many more turns there is room for.
    pub fn free_places(&self) -> usize {
        self.places.available_permits()
    }

    /// How many turns have a place.
    pub fn taken_places(&self) -> usize {
        self.settings.max_concurrent.get().saturating_sub(self.free_places())
    }

    /// Waits until no turn has a place here, without keeping anybody from taking one meanwhile.
    pub async fn idle(&self) {
        let all = u32::try_from(self.settings.max_concurrent.get()).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        drop(self.places.acquire_many(all).await);
    }

    /// Waits until the log has the end of every turn, or somebody else has the turn. A place is free before that: whoever
    /// waits for an end does not wait for a log that cannot be reached.
    pub async fn written(&self) {
        loop {
            let mut left = std::pin::pin!(self.left.notified());
            left.as_mut().enable();
            if self.turns().is_empty() {
                return;
            }
            left.await;
        }
    }

    /// Begins to run a turn that this replica owns: `page` is all the durable log has of it (after [`TurnLog::accept`]:
    /// [`NewTurn::page`](super::NewTurn::page)). `cancel` fires when its work should stop: cancelled, or lost.
    pub fn begin(
        self: &Arc<Self>,
        place: Place,
        claim: Claim,
        page: LogPage,
        cancel: CancellationToken,
    ) -> Arc<Live> {
        let live = Arc::new(Live::new(claim, page, &self.settings, cancel, Some(place.0)));
        self.turns().insert(live.turn(), Arc::clone(&live));
        self.keep_writing(&live);
        live
    }

    /// Begins to run a turn that the log could not be asked about: it is given the turn when it is back. Only turns of this
    /// replica can be in the way then: one of the same conversation, or one with the same idempotency key.
    pub fn begin_alone(
        self: &Arc<Self>,
        place: Place,
        new: &NewTurn,
        cancel: CancellationToken,
    ) -> Result<Arc<Live>, (Place, Accepted)> {
        let ended = new.idempotency.as_ref().and_then(|idempotency| self.ended_with(idempotency));
        let mut turns = self.turns();
        if let Some(refusal) = ended.or_else(|| in_the_way(&turns, new)) {
            return Err((place, refusal));
        }
        let live = Arc::new(Live::new(new.claim(), new.page(), &self.settings, cancel, Some(place.0)));
        live.begins_alone();
        turns.insert(live.turn(), Arc::clone(&live));
        drop(turns);
        self.keep_writing(&live);
        Ok(live)
    }

    /// The turn here that an idempotency key leads to.
    pub fn find(&self, idempotency: &Idempotency) -> Option<Accepted> {
        let running = known_by(self.turns().values(), idempotency);
        running.or_else(|| self.ended_with(idempotency))
    }

    /// The turn that ended here of late and that an idempotency key leads to.
    fn ended_with(&self, idempotency: &Idempotency) -> Option<Accepted> {
        known_by(self.recent().iter().map(|(_, live)| live), idempotency)
    }

    /// The turn that runs here in this conversation.
    pub fn running_in(&self, conversation: &ConversationKey) -> Option<TurnId> {
        running_in(&self.turns(), conversation)
    }

    /// Looks again whether the log has the end of a turn that ended here of late; `false` if there is none, or if the log has
    /// the turn by another claim since.
    pub fn recheck(self: &Arc<Self>, turn: TurnId) -> bool {
        let is_known = |live: &&Arc<Live>| live.turn() == turn && live.loss().is_none();
        let known = self.recent().iter().map(|(_, live)| live).find(is_known).map(Arc::clone);
        known.iter().for_each(|live| self.look_again(live));
        known.is_some()
    }

    fn keep_writing(self: &Arc<Self>, live: &Arc<Live>) {
        let left = left_of(live.record().deadline);
        let writer = Writer {
            live: Arc::clone(live),
            log: Arc::clone(&self.log),
            metrics: Arc::clone(&self.metrics),
            ask_every: *self.settings.beat,
            // As long as the turn would be kept if it could be written.
            until: Instant::now() + left + *self.settings.retention,
            unconfirmed: Arc::clone(&self.unconfirmed),
            resent: false,
            standstill: *self.settings.lease / 2,
            began: Instant::now(),
            doubted: false,
        };
        self.shutdown.spawn(Arc::clone(self).write(writer, Arc::clone(live)));
    }

    /// Looks again at what ended of late, whenever the log may have lost some of it.
    async fn doubt(self: Arc<Self>, mut doubts: watch::Receiver<Resync>) {
        let closing = self.shutdown.closing();
        while let Some(Ok(())) = closing.run_until_cancelled(doubts.changed()).await {
            let recent: Vec<_> = self.recent().iter().map(|(_, live)| Arc::clone(live)).collect();
            recent.iter().for_each(|live| self.look_again(live));
        }
    }

    fn look_again(self: &Arc<Self>, live: &Arc<Live>) {
        if live.doubt() {
            self.keep_writing(live);
        }
    }

    /// Keeps a turn that has ended for as long as its end may be lost.
    fn remember(&self, live: Arc<Live>) {
        let mut recent = self.recent();
        recent.retain(|(ended, known)| ended.elapsed() < DOUBTED_FOR && known.turn() != live.turn());
        if recent.len() >= MOST_DOUBTED {
            recent.pop_front();
        }
        recent.push_back((Instant::now(), live));
    }

    /// The owner's copy of a turn, if it is owned here.
    pub fn get(&self, turn: TurnId) -> Option<Arc<Live>> {
        self.turns().get(&turn).cloned()
    }

    /// Every turn owned here.
    pub fn all(&self) -> Vec<Arc<Live>> {
        self.turns().values().cloned().collect()
    }

    /// Reads a turn's events after `after` (from its first one if absent); `None` if that was the terminal one.
    pub async fn open(&self, turn: TurnId, after: Option<EventId>) -> Result<Option<Reader>, ReadError> {
        let (position, log) = (after.unwrap_or(EventId::START), Arc::clone(&self.log));
        match self.running_here(turn).filter(|live| position.epoch <= live.claim().epoch) {
            Some(live) => Reader::of_live(live, position, log),
            None => Reader::of_log(turn, position, log).await,
        }
    }

    /// The turn and all its events that may be seen, for [`fold`](super::fold).
    pub async fn page(&self, turn: TurnId) -> Result<LogPage, ReadError> {
        if let Some(live) = self.running_here(turn) {
            return Ok(live.page());
        }
        let read = async |after| self.log.read(turn, after, PAGE).await?.ok_or(ReadError::TurnUnknown);
        let mut whole = read(EventId::START).await?;
        while let Some(last) =
            whole.events.last().map(|event| event.id).filter(|last| *last < whole.record.last)
        {
            let more = read(last).await?;
            if more.events.is_empty() {
                break;
            }
            whole.record = more.record;
            whole.events.extend(more.events);
        }
        Ok(whole)
    }

    async fn write(self: Arc<Self>, writer: Writer, live: Arc<Live>) {
        tokio::select! {
            biased;
            () = self.shutdown.hard().cancelled() => drop(live.lost(Loss::GivenUp)),
            () = writer.run() => {}
        }
        let mut turns = self.turns();
        if turns.get(&live.turn()).is_some_and(|known| Arc::ptr_eq(known, &live)) {
            turns.remove(&live.turn());
        }
        drop(turns);
        self.left.notify_waiters();
        if live.loss().is_none() && self.log.doubts().is_some() {
            self.remember(live);
        }
    }

    /// A turn that was lost is read like any other of somebody else.
    fn running_here(&self, turn: TurnId) -> Option<Arc<Live>> {
        self.get(turn).filter(|live| live.loss().is_none())
    }

    fn recent(&self) -> MutexGuard<'_, VecDeque<(Instant, Arc<Live>)>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turns(&self) -> MutexGuard<'_, HashMap<TurnId, Arc<Live>>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a replica alone can know to be in the way of a new turn.
fn in_the_way(turns: &HashMap<TurnId, Arc<Live>>, new: &NewTurn) -> Option<Accepted> {
    let known = new.idempotency.as_ref().and_then(|idempotency| known_by(turns.values(), idempotency));
    known.or_else(|| running_in(turns, &new.conversation).map(Accepted::Busy))
}

fn known_by<'a>(mut turns: impl Iterator<Item = &'a Arc<Live>>, wanted: &Idempotency) -> Option<Accepted> {
    let of = |live: &Arc<Live>| live.record().idempotency.clone().filter(|known| known.key == wanted.key);
    turns.find_map(|live| {
        let known = of(live)?;
        Some(if known.body == wanted.body { Accepted::Same(live.turn()) } else { Accepted::OtherBody })
    })
}

fn running_in(turns: &HashMap<TurnId, Arc<Live>>, conversation: &ConversationKey) -> Option<TurnId> {
    let runs = |live: &&Arc<Live>| {
        live.record().conversation == *conversation
            && live.loss().is_none()
            && live.newest().is_none_or(|(_, ends)| !ends)
    };
    turns.values().find(runs).map(|live| live.turn())
}

/// What the wall clock has left until `deadline`; none of it decides who owns a turn.
pub(super) fn left_of(deadline: Timestamp) -> Duration {
    Duration::from_millis(deadline.as_millis().saturating_sub(Timestamp::now().as_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_may_wait_for_events_on_any_thread() {
        fn can_move(_: impl Send) {}
        let settings = config::Config::default().turns;
        let log = Arc::new(super::super::LocalTurnLog::new(settings.clone()));
        let turns = LiveTurns::new(log, settings, Arc::new(Metrics::new()), Shutdown::new());
        let turn = "01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2".parse().unwrap();
        can_move(turns.open(turn, None));
        can_move(turns.page(turn));
        let next = |reader: &'static mut Reader| can_move(reader.next());
        let _: fn(&'static mut Reader) = next;
    }
}
