//! The log of every turn: events, state, ownership (`state.md` §§1 to 4).
//!
//! Two halves. [`TurnLog`] is what is durable and shared: in this process, or in Redis. `Live` is the owner's copy in
//! memory: it numbers events, shows them to local readers, and writes them to the durable log in batches, one write in
//! flight. A checkpoint is the fold of the log. [`LiveTurns`] is where the two meet: it knows which turns are owned here.

mod audience;
mod fold;
mod journal;
mod live;
mod live_turns;
mod local;
mod outcome;
mod reader;
mod remote;
mod shelf;
mod writer;

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::redis::{RedisError, Resync};
use crate::words::{
    CancelReason, ConversationKey, Event, EventBody, EventId, Principal, Realm, ReplicaId, Timestamp, TurnId,
    TurnStatus,
};

pub use fold::{Fold, fold};
pub use journal::TurnFull;
pub use live::Live;
pub use live_turns::{LiveTurns, Overloaded, Place};
pub use local::LocalTurnLog;
pub use outcome::{Finished, Flushed, Loss, PushError};
pub use reader::{ReadError, Reader};
pub use remote::RedisTurnLog;

/// The right to write a turn: who, and since which epoch. Every write is a compare-and-set on both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The turn.
    pub turn: TurnId,
    /// Its owner.
    pub owner: ReplicaId,
    /// The owner's epoch.
    pub epoch: u64,
}

/// What makes a repeated request find the turn of the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// A hash of the principal and the key.
    pub key: [u8; 32],
    /// A hash of the parsed body.
    pub body: [u8; 32],
}

/// A turn to be accepted.
#[derive(Clone, Debug)]
pub struct NewTurn {
    /// Its id.
    pub turn: TurnId,
    /// Its conversation.
    pub conversation: ConversationKey,
    /// Whose it is.
    pub principal: Principal,
    /// Its first owner; the first epoch is 1.
    pub owner: ReplicaId,
    /// When it must have ended, by the wall clock of the replica that accepted it.
    pub deadline: Timestamp,
    /// What a later owner needs to go on: the parsed request, as JSON.
    pub request: Arc<serde_json::value::RawValue>,
    /// Its first event, `1-1`.
    pub first: Arc<Event>,
    /// What makes a repetition find it.
    pub idempotency: Option<Idempotency>,
}

impl NewTurn {
    /// The turn as the log holds it once it was accepted: what its owner begins with.
    pub fn page(&self) -> LogPage {
        let record = Record {
            turn: self.turn,
            conversation: self.conversation.clone(),
            principal: self.principal.clone(),
            status: TurnStatus::Running,
            epoch: self.first.id.epoch,
            owner: Some(self.owner.clone()),
            last: self.first.id,
            deadline: self.deadline,
            request: Arc::clone(&self.request),
            cancel: None,
            takeovers: 0,
            idempotency: self.idempotency.clone(),
        };
        LogPage { record, events: vec![Arc::clone(&self.first)] }
    }

    /// The turn as one that begins without shared state, and says so.
    pub fn degraded(mut self) -> Self {
        if let EventBody::TurnStarted { conversation, message_id, .. } = self.first.body.clone() {
            let body = EventBody::TurnStarted { conversation, message_id, degraded: true };
            self.first = Arc::new(Event::new(self.first.id, self.turn, body));
        }
        self
    }

    /// The right of its first owner.
    pub fn claim(&self) -> Claim {
        Claim { turn: self.turn, owner: self.owner.clone(), epoch: self.first.id.epoch }
    }
}

/// What became of a new turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It runs; the claim is the caller's.
    Ok(Claim),
    /// The same key and body were used before: this is their turn.
    Same(TurnId),
    /// The same key was used with another body.
    OtherBody,
    /// The conversation is answering this turn.
    Busy(TurnId),
}

/// What a write was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// Written; somebody may have asked for a cancel meanwhile.
    Ok {
        /// Why it should end.
        cancel: Option<CancelReason>,
    },
    /// The log ends at this id, not where the write begins: send again from there.
    Resend {
        /// The last id the log has; at or above the first of this epoch, or the end of the epoch before.
        from: EventId,
    },
    /// Another owner has it.
    Fenced,
    /// It has ended.
    Ended(TurnStatus),
    /// The log does not know it.
    Gone,
}

/// What became of a takeover.
#[derive(Clone, Debug)]
pub enum TakenOver {
    /// The turn is the caller's now. The log up to and with the resets that the takeover wrote is in the page.
    Ok {
        /// The new claim.
        claim: Claim,
        /// The whole turn.
        page: LogPage,
    },
    /// Somebody else was faster, the owner is another than the caller thought, or the turn is not known.
    Lost,
    /// It has ended.
    Ended(TurnStatus),
    /// It was taken over `turns.max_takeovers` times before: the turn is the caller's, but only to end it as failed.
    TooOften {
        /// The new claim.
        claim: Claim,
        /// The whole turn.
        page: LogPage,
    },
}

/// What is known of a turn beside its events.
#[derive(Clone, Debug)]
pub struct Record {
    /// The turn.
    pub turn: TurnId,
    /// Its conversation.
    pub conversation: ConversationKey,
    /// Whose it is.
    pub principal: Principal,
    /// How far it is.
    pub status: TurnStatus,
    /// The owner's epoch.
    pub epoch: u64,
    /// Who owns it; nobody after a planned stop.
    pub owner: Option<ReplicaId>,
    /// The newest event.
    pub last: EventId,
    /// When it must have ended.
    pub deadline: Timestamp,
    /// The parsed request.
    pub request: Arc<serde_json::value::RawValue>,
    /// Why it should end, if somebody asked for that.
    pub cancel: Option<CancelReason>,
    /// How often it was taken over.
    pub takeovers: u32,
    /// What makes a repetition of its request find it.
    pub idempotency: Option<Idempotency>,
}

/// A turn and a part of its log.
#[derive(Clone, Debug)]
pub struct LogPage {
    /// The turn.
    pub record: Record,
    /// Events above the position asked for, in order.
    pub events: Vec<Arc<Event>>,
}

/// The log cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("the turn log is not available")]
pub struct LogUnavailable(#[source] pub Box<dyn std::error::Error + Send + Sync>);

impl LogUnavailable {
    /// Whether what the log was asked to do may be done all the same.
    pub fn leaves_doubt(&self) -> bool {
        self.0.downcast_ref::<RedisError>().is_some_and(RedisError::leaves_doubt)
    }
}

/// The durable, shared log of all turns. Every change of a turn is one atomic step.
#[async_trait]
pub trait TurnLog: Send + Sync + 'static {
    /// Begins a turn: idempotency first, then the busy check, then it exists with its first event. The same turn of the
    /// same owner once more (an answer got lost) is answered as before; once others have it, or it has ended, it is only
    /// [`Accepted::Same`]: nothing begins twice. An error that leaves doubt says that others may see
    /// the turn already, as it was given.
    async fn accept(&self, turn: NewTurn) -> Result<Accepted, LogUnavailable>;

    /// What an idempotency key stands for ([`Accepted::Same`] or [`Accepted::OtherBody`]), without beginning anything.
    async fn find(&self, idempotency: &Idempotency) -> Result<Option<Accepted>, LogUnavailable>;

    /// Writes a batch that follows `previous`. An empty batch asks: still mine? cancelled?
    async fn append(
        &self,
        claim: &Claim,
        previous: EventId,
        batch: &[Arc<Event>],
    ) -> Result<Appended, LogUnavailable>;

    /// Writes a batch whose last event is the terminal one, and ends the turn. The same once more (an answer got lost)
    /// is answered `Ok`: who asks whether its own end arrived must not be told that somebody ended the turn.
    async fn finish(
        &self,
        claim: &Claim,
        previous: EventId,
        batch: &[Arc<Event>],
    ) -> Result<Appended, LogUnavailable>;

    /// Writes the owner's copy of a whole turn, whatever of it the log has: the turn was begun while the log could not be
    /// reached, or the log has lost it. Answered like [`Self::append`]: `Fenced` or `Ended` if the log has the turn by another
    /// claim, `Gone` if its time is over. A conversation or a key that meanwhile led to another turn keeps leading there.
    async fn restore(&self, claim: &Claim, copy: &LogPage) -> Result<Appended, LogUnavailable>;

    /// Gives the turn up for others to take over: a planned stop. The same once more (an answer got lost) is answered `Ok`.
    async fn release(&self, claim: &Claim, previous: EventId) -> Result<Appended, LogUnavailable>;

    /// Takes over a turn last seen in `epoch`. Writes a `reply.reset` for every chosen reply that is not durably
    /// finished, as the first batch of the new epoch. When the answer gets lost the turn is in the caller's
    /// [`Self::owned`] with nobody running it; taking it over again from there is right.
    async fn take_over(
        &self,
        turn: TurnId,
        epoch: u64,
        owner: &ReplicaId,
    ) -> Result<TakenOver, LogUnavailable>;

    /// Reads the turn and its events above `after`, at most `limit` of them; `None` if it is not known.
    async fn read(
        &self,
        turn: TurnId,
        after: EventId,
        limit: usize,
    ) -> Result<Option<LogPage>, LogUnavailable>;

    /// Whose the turn is; `None` if it is not known. The one look that says whether a turn exists for somebody: it takes as
    /// long for a turn that is somebody else's as for one that never was.
    async fn realm_of(&self, turn: TurnId) -> Result<Option<Realm>, LogUnavailable>;

    /// Returns when the turn has an event above `seen`, has ended, or is no longer known. May return early; never hangs
    /// longer than a second.
    async fn changed(&self, turn: TurnId, seen: EventId);

    /// Asks the owner to cancel, and says how the turn stands; `None` if it is not known.
    async fn cancel(&self, turn: TurnId, reason: CancelReason) -> Result<Option<TurnStatus>, LogUnavailable>;

    /// The conversation's newest turn, if it is still known, and whether it runs.
    async fn current(
        &self,
        conversation: &ConversationKey,
    ) -> Result<Option<(TurnId, TurnStatus)>, LogUnavailable>;

    /// The time by which everything that is shared is dated, the same for all replicas.
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Tells when what was confirmed of late may be missing all the same; `None` if that cannot be.
    fn doubts(&self) -> Option<watch::Receiver<Resync>> {
        None
    }

    /// Running turns that `owner` has, or with `None` that nobody has.
    async fn owned(&self, owner: Option<&ReplicaId>) -> Result<Vec<(TurnId, u64)>, LogUnavailable>;
}
