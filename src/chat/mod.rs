//! The product: turns, their flow, routing, personas. The only place with rules.

mod cast;
mod conversations;
mod error;
mod flow;
mod mention;
mod meter;
mod personas;
mod plain;
mod prompt;
mod reply;
mod request;
mod routing;
mod run;
mod state;
mod takeover;
mod turns;

use std::fmt;
use std::sync::Arc;
use std::task::Poll;

pub use error::ChatError;
pub use personas::{Personas, PersonasError};
pub use request::{AddMessage, Caller, ChatRequest, IdempotencyKey, MessageOrder, OnBusy, PageQuery};

use cast::Cast;
use futures_util::poll;
use tokio::sync::oneshot;
use tracing::Instrument as _;

use crate::config::Config;
use crate::flags::Flags;
use crate::llm::ChatModel;
use crate::memory::Memory;
pub use crate::memory::{Listing, ListingItem, ListingPlace, ListingQuery};
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::Metrics;
use crate::turnlog::{self, LiveTurns, TurnLog};
use crate::words::{ConversationId, Event, Message, PersonaId, ReplicaId, Timestamp, Turn, TurnId};

/// A turn that was started, or found again by its idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// The turn.
    pub turn: TurnId,
    /// Whether it was started by an earlier request with the same key.
    pub replayed: bool,
}

/// A persona as callers may see it: never its system prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonaView {
    /// Its id.
    pub id: PersonaId,
    /// Its name.
    pub name: String,
    /// What it is good at.
    pub description: String,
    /// Other names that `@` mentions may use.
    pub aliases: Vec<String>,
}

/// A conversation as a page needs it after a reload.
#[derive(Clone, Debug, PartialEq)]
pub struct ConversationView {
    /// Its id.
    pub id: ConversationId,
    /// When its first message was kept.
    pub created_at: Timestamp,
    /// When its newest was.
    pub updated_at: Timestamp,
    /// How many messages are kept.
    pub message_count: usize,
    /// The turn it is answering.
    pub active_turn_id: Option<TurnId>,
}

/// A page of messages.
#[derive(Clone, Debug, PartialEq)]
pub struct MessagePage {
    /// In the order asked for.
    pub data: Vec<Message>,
    /// Whether there are more in that direction.
    pub has_more: bool,
}

/// What became of a cancel.
#[derive(Clone, Debug, PartialEq)]
pub struct Cancelled {
    /// The turn as it stands.
    pub turn: Turn,
    /// Whether it has ended; otherwise the cancel takes effect within 2 s.
    pub ended: bool,
}

/// A position in a turn's log that moves forward. Serving it costs the turn nothing: nothing is queued for it.
pub struct Reader(turnlog::Reader);

impl Reader {
    /// The turn it reads.
    pub fn turn(&self) -> TurnId {
        self.0.turn()
    }

    /// The next event, waiting for it; `None` after the terminal one. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Arc<Event>>, ChatError> {
        self.0.next().await.map_err(ChatError::reading(self.turn()))
    }
}

/// What the chat service is made of.
pub struct Parts {
    /// Who can be asked.
    pub personas: Arc<Personas>,
    /// The model.
    pub model: Arc<dyn ChatModel>,
    /// Where conversations are kept.
    pub memory: Arc<dyn Memory>,
    /// The durable log of turns.
    pub log: Arc<dyn TurnLog>,
    /// The turns this replica runs.
    pub live: Arc<LiveTurns>,
    /// What is switched on.
    pub flags: Arc<Flags>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How it learns to stop.
    pub shutdown: Shutdown,
    /// Who we are.
    pub replica: ReplicaId,
}

/// The chat service: everything a door can ask for.
pub struct Chat {
    personas: Arc<Personas>,
    router: Arc<routing::Router>,
    memory: Arc<dyn Memory>,
    log: Arc<dyn TurnLog>,
    live: Arc<LiveTurns>,
    runner: Arc<run::Runner>,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    replica: ReplicaId,
    settings: crate::config::Turns,
}

impl fmt::Debug for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chat").field("replica", &self.replica).finish_non_exhaustive()
    }
}

impl Chat {
    /// Puts the service together. Fails only if the flow itself is wrong, which a test would have shown.
    pub fn new(config: &Config, parts: Parts) -> anyhow::Result<Self> {
        let Parts { personas, model, memory, log, live, flags, metrics, shutdown, replica } = parts;
        let router = Arc::new(routing::Router::new(
            Arc::clone(&personas),
            Arc::clone(&model),
            Arc::clone(&flags),
            Arc::clone(&metrics),
            &config.routing,
            config.turns.max_personas.get(),
        ));
        let tools = flow::Tools {
            memory: Arc::clone(&memory),
            model,
            router: Arc::clone(&router),
            personas: Arc::clone(&personas),
            flags,
            metrics: Arc::clone(&metrics),
        };
        let on_disconnect = config.turns.on_disconnect;
        let runner =
            run::Runner::new(flow::build(&tools)?, Arc::clone(&metrics), shutdown.clone(), on_disconnect);
        let settings = config.turns.clone();
        let runner = Arc::new(runner);
        Ok(Self { personas, router, memory, log, live, runner, metrics, shutdown, replica, settings })
    }

    /// Whom the caller can ask.
    pub fn personas(&self, caller: &Caller) -> Vec<PersonaView> {
        Cast::new(&self.personas, &caller.personas).all().map(personas::Persona::view).collect()
    }

    /// One persona that the caller can ask.
    pub fn persona(&self, caller: &Caller, id: &PersonaId) -> Result<PersonaView, ChatError> {
        let cast = Cast::new(&self.personas, &caller.personas);
        cast.find(id).map(personas::Persona::view).ok_or(ChatError::PersonaNotFound)
    }

    /// Carries something out to its end although whoever asked may leave: a handler's future is dropped with its client,
    /// and a turn that was accepted but never begun would be lost.
    async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ChatError>> + Send + 'static,
    ) -> Result<T, ChatError> {
        let mut work = Box::pin(work.in_current_span());
        // What waits for nothing needs no task: that would be a thread to wake, and a turn through all that is ready.
        if let Poll::Ready(done) = poll!(&mut work) {
            return done;
        }
        let (tell, told) = oneshot::channel();
        self.shutdown.spawn(async move { drop(tell.send(work.await)) });
        told.await.unwrap_or_else(|gone| Err(ChatError::Internal(gone.into())))
    }

    /// Waits until this replica runs no turn.
    pub async fn idle(&self) {
        self.live.idle().await;
    }

    /// A turn's flow as a Mermaid diagram, as the README shows it.
    pub fn mermaid(&self) -> String {
        self.runner.mermaid()
    }
}
