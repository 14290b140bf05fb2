//! A turn's flow: `recall → route → reply× → remember`.

use std::sync::Arc;

use async_trait::async_trait;
use tracing::warn;

use super::personas::Personas;
use super::reply::Speak;
use super::routing::{Question, Router};
use super::state::{Step, TurnState, Update};
use crate::flags::{Flag, Flags};
use crate::graph::{BuildError, Context, Graph, Node};
use crate::llm::ChatModel;
use crate::memory::{Memory, Written};
use crate::telemetry::Chain;
use crate::telemetry::metrics::Metrics;
use crate::turnlog::PushError;
use crate::words::{EventBody, PersonaId};

/// One persona's place in the turn: what a branch of `reply` works on.
pub type Seat = (usize, PersonaId);

/// A turn's graph.
pub type Flow = Graph<TurnState, Step, FlowError>;

/// A node could not go on at all; faults of a model are replies, not this.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// The turn's log is another's now, or has ended.
    #[error("the turn is no longer ours")]
    Lost,
    /// There is no room in the turn's log for what must be said before anybody answers.
    #[error("the turn's log is full")]
    Full,
}

impl From<PushError> for FlowError {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Full(_) => Self::Full,
            PushError::Over => Self::Lost,
        }
    }
}

/// What the nodes work with.
#[derive(Clone)]
pub struct Tools {
    /// Where conversations are kept.
    pub memory: Arc<dyn Memory>,
    /// Who is asked.
    pub model: Arc<dyn ChatModel>,
    /// Who chooses.
    pub router: Arc<Router>,
    /// Who can be chosen.
    pub personas: Arc<Personas>,
    /// What is switched on.
    pub flags: Arc<Flags>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// Builds the flow. A cancelled turn still remembers what was said.
pub fn build(tools: &Tools) -> Result<Flow, BuildError<Step>> {
    let flags = Arc::clone(&tools.flags);
    let parallel = move |state: &TurnState| flags.is_on(Flag::ParallelReplies, &state.task.principal);

    Graph::builder(Step::Recall)
        .node(Step::Recall, Recall { memory: Arc::clone(&tools.memory) })
        .route_to([Step::Route, Step::Reply], |state: &TurnState| match state.routing {
            None => Step::Route,
            Some(_) => Step::Reply,
        })
        .node(Step::Route, Route { router: Arc::clone(&tools.router) })
        .then(Step::Reply)
        .node(Step::Reply, Speak::new(tools))
        .for_each(TurnState::unfinished)
        .in_parallel_if(parallel)
        .then(Step::Remember)
        .node(Step::Remember, Remember { memory: Arc::clone(&tools.memory) })
        .ends()
        .on_cancel(Step::Remember)
        .step_budget(STEPS)
        .build()
}

/// Each step once, and the jump after a cancel.
const STEPS: usize = 8;

struct Recall {
    memory: Arc<dyn Memory>,
}

#[async_trait]
impl Node<TurnState, FlowError> for Recall {
    async fn run(&self, state: &TurnState, _: &Context) -> Result<Update, FlowError> {
        let history = match self.memory.history(&state.task.conversation).await {
            Ok(history) => history.unwrap_or_default(),
            Err(error) => {
                warn!(event = "history_unavailable", turn_id = %state.task.turn, error = %Chain(&error), "the turn goes on without what was said before");
                Default::default()
            }
        };
        let own = state.task.turn.user_message();
        let earlier = history.for_model().iter().filter(|said| said.id < own).cloned().collect();
        Ok(Update::Recalled(earlier))
    }
}

struct Route {
    router: Arc<Router>,
}

#[async_trait]
impl Node<TurnState, FlowError> for Route {
    async fn run(&self, state: &TurnState, _: &Context) -> Result<Update, FlowError> {
        let task = &state.task;
        let question = Question {
            principal: &task.principal,
            allowed: &task.personas,
            request_id: &task.request_id,
            message: &task.request.message,
            explicit: &task.request.personas,
            history: &state.history,
            deadline: task.deadline,
            clock: &task.clock,
        };
        let routing = tokio::select! {
            routing = self.router.decide(&question) => routing,
            () = task.stop.cancelled() => return Ok(Update::Nothing),
        };
        task.live.push(EventBody::RoutingDecided { routing: routing.clone() })?;
        Ok(Update::Routed(routing))
    }
}

struct Remember {
    memory: Arc<dyn Memory>,
}

#[async_trait]
impl Node<TurnState, FlowError> for Remember {
    async fn run(&self, state: &TurnState, _: &Context) -> Result<Update, FlowError> {
        let task = &state.task;
        match self.memory.merge(&task.conversation, &state.said()).await {
            Ok(Written::Written(_) | Written::Known | Written::Cleared) => {}
            Err(error) => {
                warn!(event = "memory_write_failed", turn_id = %task.turn, error = %Chain(&error), "what was said could not be kept")
            }
        }
        Ok(Update::Nothing)
    }
}
