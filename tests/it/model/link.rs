//! What lies between a replica and the store: time, lost answers, late writes, outages, and the replica's own death.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use polylogue::redis::{RedisError, Resync};
use polylogue::shutdown::Shutdown;
use polylogue::turnlog::{
    Accepted, Appended, Claim, Idempotency, LogPage, LogUnavailable, NewTurn, TakenOver, TurnLog,
};
use polylogue::words::{CancelReason, ConversationKey, Event, EventId, Realm, ReplicaId, TurnId, TurnStatus};
use rand::Rng as _;
use rand::rngs::SmallRng;
use tokio::sync::watch;

use super::store::Store;
use super::trace::Trace;

/// How long a call waits for its answer (`redis.timeout`).
const TIMEOUT: Duration = Duration::from_millis(250);

/// `changed` returns at the latest after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How late a call may arrive whose caller has given up on it, in milliseconds; less than a lease, or it would find nobody who
/// knows of its caller.
const LATEST: u64 = 8_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Runs,
    /// Stopped by a signal; nothing in it moves.
    Stands,
    Dead,
}

/// A replica's process, as the outside can treat it.
#[derive(Clone, Debug)]
pub struct Process(watch::Sender<Condition>);

impl Process {
    pub fn new() -> Self {
        Self(watch::Sender::new(Condition::Runs))
    }

    pub fn kill(&self) {
        self.0.send_replace(Condition::Dead);
    }

    pub fn stand_still(&self) {
        self.replace(Condition::Runs, Condition::Stands);
    }

    pub fn go_on(&self) {
        self.replace(Condition::Stands, Condition::Runs);
    }

    fn replace(&self, from: Condition, to: Condition) {
        self.0.send_if_modified(|now| {
            let changes = *now == from;
            if changes {
                *now = to;
            }
            changes
        });
    }

    pub fn is_dead(&self) -> bool {
        *self.0.borrow() == Condition::Dead
    }

    /// Returns while the process runs; in a dead one nothing ever happens again.
    pub async fn runs(&self) {
        if *self.0.borrow() != Condition::Runs {
            let mut condition = self.0.subscribe();
            condition.wait_for(|now| *now == Condition::Runs).await.unwrap();
        }
    }

    /// Does something within the process; nothing if it dies meanwhile.
    pub async fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut condition = self.0.subscribe();
        tokio::select! {
            biased;
            _ = condition.wait_for(|now| *now == Condition::Dead) => None,
            done = async {
                self.runs().await;
                let done = work.await;
                self.runs().await;
                done
            } => Some(done),
        }
    }
}

/// What waits for a certain write.
#[derive(Clone, Copy, Debug)]
pub struct Trap {
    /// So many writes must come before.
    pub writes: usize,
    /// Whether the store has the write when the trap closes.
    pub carried_out: bool,
    /// Whether who wrote is killed or stands still.
    pub kills: bool,
}

/// How the network and the store are, for everybody.
#[derive(Debug, Default)]
pub struct Weather {
    pub trap: Mutex<Option<Trap>>,
    /// Who sits in the trap.
    pub caught: watch::Sender<Option<ReplicaId>>,
    /// So many reasons why the store cannot be reached.
    pub outages: AtomicUsize,
    /// So many calls of a hundred go wrong by themselves.
    pub faulty: AtomicU32,
}

impl Weather {
    /// Counts a write, and says whether it is the one that was waited for.
    fn one_more_write(&self, carried_out: bool) -> Option<Trap> {
        let mut trap = self.trap.lock().unwrap();
        match trap.as_mut().filter(|trap| trap.carried_out == carried_out)? {
            Trap { writes: 0, .. } => trap.take(),
            Trap { writes, .. } => {
                *writes -= 1;
                None
            }
        }
    }
}

/// What becomes of one call.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Fine,
    Refused,
    AnswerLost,
    /// The caller is told nothing, and the call arrives so much later.
    Late(Duration),
}

/// One replica's way to the store.
pub struct Link {
    pub me: ReplicaId,
    pub store: Arc<Store>,
    pub process: Process,
    pub weather: Arc<Weather>,
    /// So many times it is in trouble for so long that others may have its turns: what it shows then may be its own.
    pub strays: AtomicUsize,
    /// So many reasons why this replica alone cannot reach the store.
    pub cut_off: AtomicUsize,
    /// Tells the replica that what it wrote of late may be missing.
    pub doubts: watch::Sender<Resync>,
    pub rng: Mutex<SmallRng>,
    /// Where calls end that arrive late.
    pub tasks: Shutdown,
    pub trace: Trace,
}

/// Nobody was asked.
fn refused() -> LogUnavailable {
    LogUnavailable("nobody is there".into())
}

/// Nobody knows what became of it.
fn unanswered() -> LogUnavailable {
    LogUnavailable(RedisError::Slow(TIMEOUT).into())
}

impl Link {
    /// The store can be reached again.
    pub fn is_back(&self) {
        self.doubts.send_modify(|seen| seen.returns += 1);
    }

    pub fn is_stray(&self) -> bool {
        self.strays.load(Relaxed) > 0
    }

    pub fn is_away(&self) -> bool {
        self.cut_off.load(Relaxed) > 0 || self.weather.outages.load(Relaxed) > 0
    }

    /// One way of a call, and what becomes of it.
    fn fate(&self) -> ([Duration; 2], Fate) {
        let mut rng = self.rng.lock().unwrap();
        let mut way = || Duration::from_millis(if rng.random_bool(0.5) { 0 } else { rng.random_range(1..6) });
        let ways = [way(), way()];
        if !rng.random_ratio(self.weather.faulty.load(Relaxed).min(100), 100) {
            return (ways, Fate::Fine);
        }
        let fate = match rng.random_range(0..3) {
            0 => Fate::Refused,
            1 => Fate::AnswerLost,
            _ => Fate::Late(Duration::from_millis(rng.random_range(0..LATEST))),
        };
        (ways, fate)
    }

    /// Asks the store for something. A process that stands still or dies on the way does so before or after the store
    /// was asked, as it happens.
    pub async fn ask<T: Send + 'static>(
        &self,
        what: &'static str,
        ask: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> Result<T, LogUnavailable> {
        self.process.runs().await;
        let ([there, back], fate) = self.fate();
        pass(there).await;
        self.process.runs().await;
        if self.is_away() {
            pass(TIMEOUT / 5).await;
            self.process.runs().await;
            return Err(refused());
        }
        if let Fate::Fine = fate {
            self.meet_trap(what, false).await;
            let answer = ask(&self.store);
            self.meet_trap(what, true).await;
            pass(back).await;
            self.process.runs().await;
            return if self.is_away() { Err(unanswered()) } else { Ok(answer) };
        }
        self.trace.note(|| format!("{} asks to {what}: {fate:?}", self.me));
        match fate {
            Fate::Fine | Fate::Refused => {}
            Fate::AnswerLost => drop(ask(&self.store)),
            Fate::Late(late) => self.arrive(late, ask),
        }
        pass(TIMEOUT).await;
        self.process.runs().await;
        Err(if matches!(fate, Fate::Refused) { refused() } else { unanswered() })
    }

    /// Dies or stands still at just this write, if that is planned.
    async fn meet_trap(&self, what: &'static str, carried_out: bool) {
        if !matches!(what, "append" | "finish" | "release" | "take over" | "restore") {
            return;
        }
        let closed = self.weather.one_more_write(carried_out);
        let Some(Trap { kills, .. }) = closed else { return };
        if kills {
            self.process.kill()
        } else {
            self.process.stand_still()
        }
        self.trace.note(|| format!("{} is caught: {closed:?}, {what}", self.me));
        self.weather.caught.send_replace(Some(self.me.clone()));
        self.process.runs().await;
    }

    fn arrive<T>(&self, late: Duration, ask: impl FnOnce(&Store) -> T + Send + 'static) {
        let (store, weather) = (Arc::clone(&self.store), Arc::clone(&self.weather));
        self.tasks.spawn(async move {
            pass(late).await;
            if weather.outages.load(Relaxed) == 0 {
                drop(ask(&store));
            }
        });
    }
}

async fn pass(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

#[async_trait]
impl TurnLog for Link {
    async fn accept(&self, turn: NewTurn) -> Result<Accepted, LogUnavailable> {
        self.ask("accept", move |store| store.accept(&turn)).await
    }

    async fn find(&self, idempotency: &Idempotency) -> Result<Option<Accepted>, LogUnavailable> {
        let idempotency = idempotency.clone();
        self.ask("find", move |store| store.find(&idempotency)).await
    }

    async fn append(
        &self,
        claim: &Claim,
        previous: EventId,
        batch: &[Arc<Event>],
    ) -> Result<Appended, LogUnavailable> {
        let (claim, batch) = (claim.clone(), batch.to_vec());
        self.ask("append", move |store| store.append(&claim, previous, &batch)).await
    }

    async fn finish(
        &self,
        claim: &Claim,
        previous: EventId,
        batch: &[Arc<Event>],
    ) -> Result<Appended, LogUnavailable> {
        let (claim, batch) = (claim.clone(), batch.to_vec());
        self.ask("finish", move |store| store.finish(&claim, previous, &batch)).await
    }

    async fn restore(&self, claim: &Claim, copy: &LogPage) -> Result<Appended, LogUnavailable> {
        let (claim, copy) = (claim.clone(), copy.clone());
        self.ask("restore", move |store| store.restore(&claim, &copy)).await
    }

    async fn release(&self, claim: &Claim, previous: EventId) -> Result<Appended, LogUnavailable> {
        let claim = claim.clone();
        self.ask("release", move |store| store.release(&claim, previous)).await
    }

    async fn take_over(
        &self,
        turn: TurnId,
        epoch: u64,
        owner: &ReplicaId,
    ) -> Result<TakenOver, LogUnavailable> {
        let owner = owner.clone();
        self.ask("take over", move |store| store.take_over(turn, epoch, &owner)).await
    }

    async fn read(
        &self,
        turn: TurnId,
        after: EventId,
        limit: usize,
    ) -> Result<Option<LogPage>, LogUnavailable> {
        self.ask("read", move |store| store.read(turn, after, limit)).await
    }

    async fn realm_of(&self, turn: TurnId) -> Result<Option<Realm>, LogUnavailable> {
        self.ask("realm of", move |store| store.realm_of(turn)).await
    }

    fn doubts(&self) -> Option<watch::Receiver<Resync>> {
        Some(self.doubts.subscribe())
    }

    async fn changed(&self, turn: TurnId, seen: EventId) {
        self.process.runs().await;
        // Whether it was a change or the time: the caller looks.
        let _ = tokio::time::timeout(LOOK_AGAIN, self.store.changed(turn, seen)).await;
        self.process.runs().await;
    }

    async fn cancel(&self, turn: TurnId, reason: CancelReason) -> Result<Option<TurnStatus>, LogUnavailable> {
        self.ask("cancel", move |store| store.cancel(turn, reason)).await
    }

    async fn current(
        &self,
        conversation: &ConversationKey,
    ) -> Result<Option<(TurnId, TurnStatus)>, LogUnavailable> {
        let conversation = conversation.clone();
        self.ask("current", move |store| store.current(&conversation)).await
    }

    async fn owned(&self, owner: Option<&ReplicaId>) -> Result<Vec<(TurnId, u64)>, LogUnavailable> {
        let owner = owner.cloned();
        self.ask("owned", move |store| store.owned(owner.as_ref())).await
    }
}
