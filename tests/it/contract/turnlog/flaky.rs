//! A turn log that goes wrong on demand.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use polylogue::turnlog::{
    Accepted, Appended, Claim, Idempotency, LocalTurnLog, LogPage, LogUnavailable, NewTurn, TakenOver,
    TurnLog,
};
use polylogue::words::{CancelReason, ConversationKey, Event, EventId, Realm, ReplicaId, TurnId, TurnStatus};
use tokio::sync::watch;

use super::stage::settings;

/// What happens to one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It fails and has no effect.
    Before,
    /// It takes effect, and its answer gets lost.
    AnswerLost,
    /// It is answered as written, and a failover forgets it.
    TailLost,
}

/// How the log is at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// Writes wait.
    Held,
    /// A turn's end is written, and the answer waits.
    EndHeld,
    /// Everything fails.
    Down,
}

/// A local log in front of which writes go wrong; reads only while it is down.
pub struct FlakyLog {
    inner: LocalTurnLog,
    faults: Mutex<VecDeque<Fault>>,
    mood: watch::Sender<Mood>,
    /// How many events each write that got through had.
    pub writes: Mutex<Vec<usize>>,
}

impl FlakyLog {
    /// The next writes meet these faults, later ones none.
    pub fn new(faults: impl IntoIterator<Item = Fault>) -> Arc<Self> {
        let (faults, writes) = (Mutex::new(faults.into_iter().collect()), Mutex::default());
        Arc::new(Self {
            inner: LocalTurnLog::new(settings()),
            faults,
            mood: watch::Sender::new(Mood::Well),
            writes,
        })
    }

    pub fn is(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// Whether the end of a turn is written.
    pub async fn has_ended(&self, turn: &str) -> bool {
        let page = self.inner.read(turn.parse().unwrap(), EventId::START, 1).await.unwrap();
        page.is_some_and(|page| page.record.status.is_terminal())
    }

    async fn fault(&self) -> Result<Fault, LogUnavailable> {
        let mut mood = self.mood.subscribe();
        let now = *mood.wait_for(|mood| *mood != Mood::Held).await.unwrap();
        let next = self.faults.lock().unwrap().pop_front();
        match (now, next.unwrap_or(Fault::None)) {
            (Mood::Down, _) | (_, Fault::Before) => Err(broken()),
            (_, fault) => Ok(fault),
        }
    }

    fn reachable(&self) -> Result<(), LogUnavailable> {
        if *self.mood.borrow() == Mood::Down { Err(broken()) } else { Ok(()) }
    }

    fn answer(
        &self,
        fault: Fault,
        batch: &[Arc<Event>],
        answer: Appended,
    ) -> Result<Appended, LogUnavailable> {
        if matches!(answer, Appended::Ok { .. }) && !batch.is_empty() {
            self.writes.lock().unwrap().push(batch.len());
        }
        if fault == Fault::AnswerLost { Err(broken()) } else { Ok(answer) }
    }
}

fn broken() -> LogUnavailable {
    LogUnavailable("the connection broke".into())
}

#[async_trait]
impl TurnLog for FlakyLog {
    async fn accept(&self, turn: NewTurn) -> Result<Accepted, LogUnavailable> {
        self.reachable()?;
        self.inner.accept(turn).await
    }

    async fn find(&self, idempotency: &Idempotency) -> Result<Option<Accepted>, LogUnavailable> {
        self.reachable()?;
        self.inner.find(idempotency).await
    }

    async fn append(
        &self,
        claim: &Claim,
        previous: EventId,
        batch: &[Arc<Event>],
    ) -> Result<Appended, LogUnavailable> {
        let fault = self.fault().await?;
        let kept = if fault == Fault::TailLost { &[] } else { batch };
        self.answer(fault, batch, self.inner.append(claim, previous, kept).await?)
    }

    async fn finish(
        &self,
        claim: &Claim,
        previous: EventId,
        batch: &[Arc<Event>],
    ) -> Result<Appended, LogUnavailable> {
        // An owner that was told of its turn's end asks no more: nothing could heal a lost one.
        let fault = self.fault().await?;
        let finished = self.inner.finish(claim, previous, batch).await?;
        self.mood.subscribe().wait_for(|mood| *mood != Mood::EndHeld).await.unwrap();
        self.answer(fault, batch, finished)
    }

    async fn restore(&self, claim: &Claim, copy: &LogPage) -> Result<Appended, LogUnavailable> {
        let fault = self.fault().await?;
        self.answer(fault, &copy.events, self.inner.restore(claim, copy).await?)
    }

    async fn release(&self, claim: &Claim, previous: EventId) -> Result<Appended, LogUnavailable> {
        self.reachable()?;
        self.inner.release(claim, previous).await
    }

    async fn take_over(
        &self,
        turn: TurnId,
        epoch: u64,
        owner: &ReplicaId,
    ) -> Result<TakenOver, LogUnavailable> {
        self.reachable()?;
        self.inner.take_over(turn, epoch, owner).await
    }

    async fn read(
        &self,
        turn: TurnId,
        after: EventId,
        limit: usize,
    ) -> Result<Option<LogPage>, LogUnavailable> {
        self.reachable()?;
        self.inner.read(turn, after, limit).await
    }

    async fn realm_of(&self, turn: TurnId) -> Result<Option<Realm>, LogUnavailable> {
        self.reachable()?;
        self.inner.realm_of(turn).await
    }

    async fn changed(&self, turn: TurnId, seen: EventId) {
        self.inner.changed(turn, seen).await;
    }

    async fn cancel(&self, turn: TurnId, reason: CancelReason) -> Result<Option<TurnStatus>, LogUnavailable> {
        self.reachable()?;
        self.inner.cancel(turn, reason).await
    }

    async fn current(
        &self,
        conversation: &ConversationKey,
    ) -> Result<Option<(TurnId, TurnStatus)>, LogUnavailable> {
        self.reachable()?;
        self.inner.current(conversation).await
    }

    async fn owned(&self, owner: Option<&ReplicaId>) -> Result<Vec<(TurnId, u64)>, LogUnavailable> {
        self.reachable()?;
        self.inner.owned(owner).await
    }
}
