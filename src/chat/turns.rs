//! Turns: starting, reading, cancelling. The server owns them; whoever asked may leave.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::cast::Cast;
use super::conversations::above;
use super::meter::ModelClock;
use super::state::{Task, TurnState};
use super::{Caller, Cancelled, Chat, ChatError, ChatRequest, OnBusy, Reader, Started};
use crate::telemetry::metrics::{Idempotency as Used, ModelCause, TurnRefusal};
use crate::telemetry::{Chain, traces};
use crate::turnlog::{Accepted, Claim, Idempotency, Live, NewTurn, Place, fold};
use crate::words::{
    AllowedPersonas, CancelReason, ConversationId, ConversationKey, ConversationRef, Event, EventBody,
    EventId, RequestId, Timestamp, Turn, TurnId, TurnStatus,
};

/// How long a cancel waits for the turn to end before it says that it is under way.
pub(super) const CANCEL_WAIT: Duration = Duration::from_secs(2);

/// How often a message that interrupts tries again when yet another turn was faster.
const INTERRUPTS: usize = 3;

/// The first epoch of a turn.
const FIRST: EventId = EventId { epoch: 1, seq: 1 };

/// What a later owner needs to go on with a turn.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    #[serde(flatten)]
    pub(super) request: ChatRequest,
    pub(super) request_id: RequestId,
    /// The place of the request in its trace, as a `traceparent`; never what else callers say about their traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trace: Option<String>,
    /// Whom the caller might ask when the turn was accepted.
    #[serde(default, skip_serializing_if = "AllowedPersonas::is_all")]
    pub(super) allowed_personas: AllowedPersonas,
}

/// A turn that was admitted and is owned here.
struct Begun {
    new: NewTurn,
    live: Arc<Live>,
    stop: CancellationToken,
}

impl Chat {
    /// Starts a turn, or finds the one that the same idempotency key started. Nothing is lost from here on.
    pub async fn start(
        self: &Arc<Self>,
        caller: &Caller,
        request: ChatRequest,
    ) -> Result<Started, ChatError> {
        let (chat, asked_by) = (Arc::clone(self), caller.clone());
        // Before anything is waited for, so that it counts for whoever comes next.
        let room = self.room();
        let started = self.to_its_end(async move { chat.accept(&asked_by, request, room).await }).await;
        let (outcome, refusal) = match &started {
            Ok(Started { replayed, .. }) => {
                (Some(if *replayed { Used::Replayed } else { Used::First }), None)
            }
            Err(ChatError::IdempotencyKeyReused) => {
                (Some(Used::Reused), Some(TurnRefusal::IdempotencyKeyReused))
            }
            Err(error) => (None, refusal(error)),
        };
        if let Some(outcome) = outcome.filter(|_| caller.idempotency_key.is_some()) {
            self.metrics.turns.idempotency.inc(&(outcome,));
        }
        if let Some(reason) = refusal {
            self.metrics.turns.rejected.inc(&(reason,));
        }
        started
    }

    async fn accept(
        &self,
        caller: &Caller,
        request: ChatRequest,
        room: Result<Place, ChatError>,
    ) -> Result<Started, ChatError> {
        self.check_personas(caller, &request)?;
        let mut place = match room {
            Ok(place) => place,
            Err(refusal) => return self.begun_before(caller, &request).await?.ok_or(refusal),
        };
        let id = request.conversation_id.clone().unwrap_or_else(ConversationId::random);
        let conversation = caller.conversation(&id);
        for _ in 0..INTERRUPTS {
            let new = self.new_turn(caller, &request, &conversation).await?;
            let (back, refusal) = match self.admit(new, place).await {
                Ok(begun) => return Ok(self.begin(caller, request, begun).await),
                Err(refused) => refused,
            };
            place = back;
            match refusal {
                // It is ours only if it was admitted.
                Accepted::Ok(Claim { turn, .. }) | Accepted::Same(turn) => {
                    return Ok(Started { turn, replayed: true });
                }
                Accepted::OtherBody => return Err(ChatError::IdempotencyKeyReused),
                Accepted::Busy(running) if request.on_busy == OnBusy::Interrupt => {
                    self.end_and_wait(running, CancelReason::Interrupted, CANCEL_WAIT).await?;
                }
                Accepted::Busy(running) => return Err(ChatError::TurnInProgress(running)),
            }
        }
        Err(ChatError::Overloaded)
    }

    /// Has the log accept the turn; while it cannot be reached, the turn begins here alone and says so.
    async fn admit(&self, new: NewTurn, place: Place) -> Result<Begun, (Place, Accepted)> {
        let stop = CancellationToken::new();
        match self.log.accept(new.clone()).await {
            Ok(Accepted::Ok(claim)) => {
                let live = self.live.begin(place, claim, new.page(), stop.clone());
                Ok(Begun { new, live, stop })
            }
            Ok(refusal) => Err((place, refusal)),
            Err(error) => {
                // What others may see already must be what is seen here.
                let new = if error.leaves_doubt() { new } else { new.degraded() };
                let live = self.live.begin_alone(place, &new, stop.clone())?;
                warn!(event = "turn_alone", turn_id = %new.turn, error = %Chain(&error), "a turn begins without shared state");
                Ok(Begun { new, live, stop })
            }
        }
    }

    /// Whether there is no room for one more turn on this replica.
    pub fn is_full(&self) -> bool {
        self.live.free_places() == 0
    }

    /// How many turns have a place on this replica.
    pub fn under_way(&self) -> usize {
        self.live.taken_places()
    }

    /// Room for one more turn on this replica.
    fn room(&self) -> Result<Place, ChatError> {
        if self.shutdown.closing().is_cancelled() {
            return Err(ChatError::Draining);
        }
        Ok(self.live.try_reserve()?)
    }

    /// The turn that the same idempotency key began: finding it again needs no room.
    async fn begun_before(
        &self,
        caller: &Caller,
        request: &ChatRequest,
    ) -> Result<Option<Started>, ChatError> {
        let Some(idempotency) = idempotency(caller, request) else { return Ok(None) };
        let known = match self.log.find(&idempotency).await {
            Ok(known) => known,
            Err(_) => self.live.find(&idempotency),
        };
        match known {
            Some(Accepted::Same(turn)) => Ok(Some(Started { turn, replayed: true })),
            Some(Accepted::OtherBody) => Err(ChatError::IdempotencyKeyReused),
            Some(Accepted::Ok(_) | Accepted::Busy(_)) | None => Ok(None),
        }
    }

    fn check_personas(&self, caller: &Caller, request: &ChatRequest) -> Result<(), ChatError> {
        let cast = Cast::new(&self.personas, &caller.personas);
        let listed = request.personas.iter().enumerate();
        let unknown: Vec<_> = listed.filter(|(_, id)| cast.find(id).is_none()).map(|(at, _)| at).collect();
        let most = self.router.most(&caller.principal);
        match () {
            () if cast.all().next().is_none() => Err(ChatError::NoPersonaAllowed),
            () if !unknown.is_empty() => Err(ChatError::UnknownPersonas(unknown)),
            () if request.personas.len() > most => Err(ChatError::TooManyPersonas(most)),
            () => Ok(()),
        }
    }

    async fn new_turn(
        &self,
        caller: &Caller,
        request: &ChatRequest,
        conversation: &ConversationKey,
    ) -> Result<NewTurn, ChatError> {
        let (history, degraded) = match &request.conversation_id {
            None => (None, false),
            Some(_) => match self.memory.history(conversation).await {
                Ok(history) => (history, false),
                Err(error) => {
                    warn!(event = "history_unavailable", request_id = %caller.request_id, error = %Chain(&error), "a turn starts without what was said before");
                    (None, true)
                }
            },
        };
        let newest = history.as_ref().and_then(|history| history.messages.last()).map(|said| said.id);
        let now = self.log.now();
        let turn = TurnId::new(above(newest, now), conversation);
        let body = EventBody::TurnStarted {
            conversation: ConversationRef {
                id: conversation.id().clone(),
                created: history.is_none() && !degraded,
            },
            message_id: turn.user_message(),
            degraded,
        };
        let kept = Kept {
            request: request.clone(),
            request_id: caller.request_id.clone(),
            trace: traces::current().map(|place| place.to_string()),
            allowed_personas: caller.personas.clone(),
        };
        let raw: Box<RawValue> = to_raw_value(&kept).map_err(|error| ChatError::Internal(error.into()))?;
        let deadline = Timestamp::now().as_millis() + self.settings.deadline.as_millis() as u64;
        Ok(NewTurn {
            turn,
            conversation: conversation.clone(),
            principal: caller.principal.clone(),
            owner: self.replica.clone(),
            deadline: Timestamp::from_millis(deadline),
            first: Arc::new(Event::new(FIRST, turn, body)),
            idempotency: idempotency(caller, request),
            request: raw.into(),
        })
    }

    /// From here on the turn is the server's: kept, running, and found by its id.
    async fn begin(
        &self,
        caller: &Caller,
        request: ChatRequest,
        Begun { new, live, stop }: Begun,
    ) -> Started {
        let turn = new.turn;
        let task = Arc::new(Task {
            turn,
            conversation: new.conversation,
            principal: new.principal,
            personas: caller.personas.clone(),
            request: Arc::new(request),
            request_id: caller.request_id.clone(),
            transport: caller.transport,
            arrived: caller.arrived,
            deadline: Instant::now() + *self.settings.deadline,
            cause: ModelCause::First,
            live,
            stop,
            draining: OnceLock::new(),
            clock: ModelClock::default(),
            spoke: OnceLock::new(),
            broke: OnceLock::new(),
            follows: None,
        });
        if let Err(error) = self.memory.add(&task.conversation, &[task.user_message()]).await {
            warn!(event = "memory_write_failed", turn_id = %turn, error = %Chain(&error), "the user's message is kept with its turn only for now");
        }
        self.runner.spawn(TurnState::new(task));
        Started { turn, replayed: false }
    }

    /// The turn as it stands.
    pub async fn turn(&self, caller: &Caller, turn: TurnId) -> Result<Turn, ChatError> {
        self.check_is_of(caller, turn).await?;
        self.standing(turn).await
    }

    async fn standing(&self, turn: TurnId) -> Result<Turn, ChatError> {
        let page = self.live.page(turn).await.map_err(ChatError::reading(turn))?;
        Ok(fold(&page.record, &page.events))
    }

    /// Reads the turn's events after `after`; `None` when that was the terminal one and nothing will follow.
    pub async fn follow(
        &self,
        caller: &Caller,
        turn: TurnId,
        after: Option<EventId>,
    ) -> Result<Option<Reader>, ChatError> {
        self.check_is_of(caller, turn).await?;
        let opened = self.live.open(turn, after).await.map_err(ChatError::reading(turn))?;
        Ok(opened.map(Reader))
    }

    /// Waits until the turn has ended, as one of its readers, and returns it.
    pub async fn wait(&self, caller: &Caller, turn: TurnId) -> Result<Turn, ChatError> {
        loop {
            if let Some(mut reader) = self.follow(caller, turn, None).await? {
                while reader.next().await?.is_some() {}
            }
            let standing = self.standing(turn).await?;
            // A turn that was taken over to here meanwhile: its reader may find the end in the log before its owner is told that
            // it is written. From then on the owner is whom it follows.
            if standing.status.is_terminal() {
                return Ok(standing);
            }
        }
    }

    /// Asks for the turn's end, and waits for it for at most 2 s. Idempotent.
    pub async fn cancel(&self, caller: &Caller, turn: TurnId) -> Result<Cancelled, ChatError> {
        self.check_is_of(caller, turn).await?;
        let ended = self.end_and_wait(turn, CancelReason::Requested, CANCEL_WAIT).await?;
        Ok(Cancelled { turn: self.standing(turn).await?, ended })
    }

    /// To everybody but its own principal a turn does not exist. One that runs here is not told apart from one that never was:
    /// the log is asked all the same.
    async fn check_is_of(&self, caller: &Caller, turn: TurnId) -> Result<(), ChatError> {
        let realm = caller.realm();
        let is_own = |live: &Arc<Live>| live.realm() == realm;
        if self.live.get(turn).as_ref().is_some_and(is_own) || self.log.realm_of(turn).await? == Some(realm) {
            return Ok(());
        }
        Err(ChatError::TurnNotFound)
    }

    /// Asks for the turn's end and waits for it; says whether it has ended.
    pub(super) async fn end_and_wait(
        &self,
        turn: TurnId,
        reason: CancelReason,
        wait: Duration,
    ) -> Result<bool, ChatError> {
        // Where it runs it is told at once, whether or not the log can be asked.
        let here = self.live.get(turn).filter(|live| live.loss().is_none());
        here.iter().for_each(|live| live.cancel(reason));
        match self.log.cancel(turn, reason).await {
            Ok(Some(TurnStatus::Running)) => {}
            Ok(Some(_)) if here.is_none() => return Ok(true),
            Ok(None) if here.is_none() => return Err(ChatError::TurnNotFound),
            Err(error) if here.is_none() => return Err(error.into()),
            Ok(Some(_) | None) | Err(_) => {}
        }
        let ended = async {
            if let Some(mut reader) = self.live.open(turn, None).await.map_err(ChatError::reading(turn))? {
                while reader.next().await.map_err(ChatError::reading(turn))?.is_some() {}
                reader.dismiss();
            }
            Ok::<_, ChatError>(())
        };
        match timeout(wait, ended).await {
            Ok(ended) => ended.map(|()| true),
            Err(_) => Ok(false),
        }
    }
}

/// The key is the principal's own; the body counts as it was understood, not as it was spelled.
fn idempotency(caller: &Caller, request: &ChatRequest) -> Option<Idempotency> {
    let key = caller.idempotency_key.as_ref()?.as_str();
    let principal = caller.principal.to_string();
    let mut hash = Sha256::new();
    hash.update((principal.len() as u64).to_be_bytes());
    hash.update(principal);
    hash.update(key);
    let body = serde_json::to_vec(request).unwrap_or_default();
    Some(Idempotency { key: hash.finalize().into(), body: Sha256::digest(body).into() })
}

fn refusal(error: &ChatError) -> Option<TurnRefusal> {
    match error {
        ChatError::UnknownPersonas(_) | ChatError::NoPersonaAllowed | ChatError::TooManyPersonas(_) => {
            Some(TurnRefusal::UnknownPersona)
        }
        ChatError::TurnInProgress(_) => Some(TurnRefusal::Busy),
        ChatError::IdempotencyKeyReused => Some(TurnRefusal::IdempotencyKeyReused),
        ChatError::Draining => Some(TurnRefusal::Draining),
        ChatError::Overloaded => Some(TurnRefusal::Overloaded),
        ChatError::StateUnavailable(_) | ChatError::Internal(_) => Some(TurnRefusal::State),
        ChatError::TurnNotFound
        | ChatError::ConversationNotFound
        | ChatError::PersonaNotFound
        | ChatError::EventUnknown(_) => None,
    }
}
