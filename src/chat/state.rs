//! What a turn knows while it runs: the state of its graph.

use std::fmt;
use std::sync::{Arc, OnceLock};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ChatRequest;
use super::meter::ModelClock;
use crate::graph::State;
use crate::telemetry::metrics::{Metrics, ModelCause, Transport};
use crate::telemetry::traces::TraceContext;
use crate::turnlog::Live;
use crate::words::{
    AllowedPersonas, CancelReason, ConversationKey, ErrorCode, Failure, Message, MessageId, PersonaId,
    Principal, Reply, ReplyStatus, RequestId, Role, Routing, Timestamp, Turn, TurnId,
};

/// The steps of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Reads what was said before.
    Recall,
    /// Chooses who answers.
    Route,
    /// One persona's answer; one branch for each chosen persona.
    Reply,
    /// Keeps what was said.
    Remember,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Recall => "recall",
            Self::Route => "route",
            Self::Reply => "reply",
            Self::Remember => "remember",
        })
    }
}

/// Why a turn has to end before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Somebody wants it to.
    Cancel(CancelReason),
    /// This replica is stopping and nobody can take the turn over.
    Draining,
}

/// What stays the same while a turn runs, shared by its branches.
pub struct Task {
    /// The turn.
    pub turn: TurnId,
    /// Its conversation.
    pub conversation: ConversationKey,
    /// Whose it is.
    pub principal: Principal,
    /// Whom its caller might ask when it was accepted.
    pub personas: AllowedPersonas,
    /// What was asked for.
    pub request: Arc<ChatRequest>,
    /// Ties log lines and model calls together.
    pub request_id: RequestId,
    /// The door it came through.
    pub transport: Transport,
    /// When its request came in here.
    pub arrived: Instant,
    /// When it must have ended.
    pub deadline: Instant,
    /// Why models are asked first: the first time, or again after a takeover.
    pub cause: ModelCause,
    /// Its log, as its owner holds it.
    pub live: Arc<Live>,
    /// Fires when it has to end: cancelled, no longer ours, or the replica stops.
    pub stop: CancellationToken,
    /// Set when the replica stops.
    pub draining: OnceLock<()>,
    /// How long models worked for it.
    pub clock: ModelClock,
    /// When the first piece of text came.
    pub spoke: OnceLock<Instant>,
    /// What went wrong first, with its causes; for the log alone.
    pub broke: OnceLock<String>,
    /// The trace of the request, where a turn goes on that began elsewhere.
    pub follows: Option<TraceContext>,
}

impl Task {
    /// Makes the turn end because the replica stops and nobody can take it over.
    pub fn drain(&self) {
        let _ = self.draining.set(());
        self.stop.cancel();
    }

    /// Why the turn has to end, if it has to.
    pub fn why(&self) -> Option<Stop> {
        let draining = self.draining.get().map(|()| Stop::Draining);
        self.live.cancel_reason().map(Stop::Cancel).or(draining)
    }

    /// Notes that a piece of text came; the first one is measured.
    pub fn spoke(&self, metrics: &Metrics) {
        let mut first = false;
        let at = self.spoke.get_or_init(|| {
            first = true;
            Instant::now()
        });
        if first {
            metrics.turns.first_token.observe(&(self.transport,), at.duration_since(self.arrived));
        }
    }

    /// The user's message.
    pub fn user_message(&self) -> Message {
        Message {
            id: self.turn.user_message(),
            role: Role::User,
            persona: None,
            content: self.request.message.clone(),
            created_at: Timestamp::from_millis(self.turn.started_ms()),
            cancelled: false,
        }
    }
}

/// The state of a turn's graph.
#[derive(Clone)]
pub struct TurnState {
    /// What stays the same.
    pub task: Arc<Task>,
    /// What was said before, as far as a model may see it.
    pub history: Arc<[Message]>,
    /// Who answers, once decided.
    pub routing: Option<Routing>,
    /// The replies, in the order of the routing.
    pub replies: Vec<Reply>,
}

/// What a node found out.
#[derive(Debug)]
pub enum Update {
    /// What was said before.
    Recalled(Arc<[Message]>),
    /// Who answers.
    Routed(Routing),
    /// One reply has ended.
    Replied(Reply),
    /// Nothing that the state keeps.
    Nothing,
}

impl State for TurnState {
    type Update = Update;

    fn apply(&mut self, update: Update) {
        match update {
            Update::Recalled(history) => self.history = history,
            Update::Routed(routing) => {
                self.replies = routing.personas.iter().cloned().map(Reply::pending).collect();
                self.routing = Some(routing);
            }
            Update::Replied(reply) => {
                if let Some(place) = self.replies.iter_mut().find(|known| known.persona == reply.persona) {
                    *place = reply;
                }
            }
            Update::Nothing => {}
        }
    }
}

impl TurnState {
    /// A turn that begins.
    pub fn new(task: Arc<Task>) -> Self {
        Self { task, history: Arc::new([]), routing: None, replies: Vec::new() }
    }

    /// A turn that goes on from its checkpoint: the fold of its log. Replies that are not finished start over.
    pub fn from_checkpoint(task: Arc<Task>, checkpoint: Turn) -> Self {
        let replies = checkpoint.replies.into_iter();
        let replies = replies
            .map(|reply| if reply.status.is_terminal() { reply } else { Reply::pending(reply.persona) });
        Self { task, history: Arc::new([]), routing: checkpoint.routing, replies: replies.collect() }
    }

    /// The personas whose replies are still to come, with their places.
    pub fn unfinished(&self) -> Vec<(usize, PersonaId)> {
        let open = self.replies.iter().enumerate().filter(|(_, reply)| !reply.status.is_terminal());
        open.map(|(place, reply)| (place, reply.persona.clone())).collect()
    }

    /// What the conversation keeps of the turn: the user's message, and what personas said, also when they were cut
    /// short; nothing of those that failed.
    pub fn said(&self) -> Vec<Message> {
        let replies = self.replies.iter().filter_map(|reply| match reply.status {
            ReplyStatus::Completed => self.message_of(reply, false),
            ReplyStatus::Cancelled => self.message_of(reply, true),
            ReplyStatus::Pending | ReplyStatus::Running | ReplyStatus::Failed => None,
        });
        std::iter::once(self.task.user_message()).chain(replies).collect()
    }

    /// What the reply leaves in the conversation; nothing if nothing was said.
    fn message_of(&self, reply: &Reply, cancelled: bool) -> Option<Message> {
        let said = !reply.content.trim().is_empty();
        Some(Message {
            id: reply.message_id.filter(|_| said)?,
            role: Role::Assistant,
            persona: Some(reply.persona.clone()),
            content: reply.content.clone(),
            created_at: Timestamp::now(),
            cancelled,
        })
    }

    /// The id of the message that the persona at `place` makes.
    pub fn message_id(&self, place: usize) -> MessageId {
        self.task.turn.reply_message(place)
    }

    /// Why the turn failed as a whole: the first reply's reason.
    pub fn failure(&self) -> Failure {
        let first = self.replies.iter().find_map(|reply| reply.error.clone());
        first.unwrap_or_else(|| Failure::new(ErrorCode::Internal, "Nobody answered."))
    }
}
