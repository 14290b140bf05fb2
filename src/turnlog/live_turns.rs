//! The turns that are owned here, and the way to read any turn, here or elsewhere.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::live::Live;
use super::outcome::Loss;
use super::reader::{PAGE, ReadError, Reader};
use super::writer::Writer;
use super::{Claim, LogPage, TurnLog};
use crate::config;
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::Metrics;
use crate::words::{EventId, Timestamp, TurnId};

/// How long after a turn's deadline its owner still tries to write its end: twice the time Redis' breaker stays open.
const LINGER: Duration = Duration::from_secs(60);

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
        Arc::new(Self { log, settings, metrics, shutdown, turns, places, unconfirmed })
    }

    /// The durable log beneath.
    pub fn log(&self) -> &Arc<dyn TurnLog> {
        &self.log
    }

    /// Takes room for a turn, or says at once that there is none. Taken before the turn is accepted or taken over.
    pub fn try_reserve(&self) -> Result<Place, Overloaded> {
        Arc::clone(&self.places).try_acquire_owned().map(Place).map_err(|_| Overloaded)
    }

    /// How many more turns there is room for.
    pub fn free_places(&self) -> usize {
        self.places.available_permits()
    }

    /// Waits until no turn has a place here, without keeping anybody from taking one meanwhile.
    pub async fn idle(&self) {
        let all = u32::try_from(self.settings.max_concurrent.get()).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        drop(self.places.acquire_many(all).await);
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
        let until = Instant::now() + left_of(page.record.deadline) + LINGER;
        let live = Arc::new(Live::new(claim, page, &self.settings, cancel, Some(place.0)));
        self.turns().insert(live.turn(), Arc::clone(&live));
        let writer = Writer {
            live: Arc::clone(&live),
            log: Arc::clone(&self.log),
            metrics: Arc::clone(&self.metrics),
            ask_every: *self.settings.beat,
            until,
            unconfirmed: Arc::clone(&self.unconfirmed),
            resent: false,
        };
        self.shutdown.spawn(Arc::clone(self).write(writer, Arc::clone(&live)));
        live
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
        match self.running_here(turn) {
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
    }

    /// A turn that was lost is read like any other of somebody else.
    fn running_here(&self, turn: TurnId) -> Option<Arc<Live>> {
        self.get(turn).filter(|live| live.loss().is_none())
    }

    fn turns(&self) -> MutexGuard<'_, HashMap<TurnId, Arc<Live>>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
