//! A generic engine for flows: typed state, steps that are an enum, and no I/O of its own.
//!
//! A [`Graph`] is built once, checked as a whole, and then run any number of times at once. Each step's node reads the
//! state and returns an update; the state's reducer applies it; an edge says what follows. After every node the run is
//! saved through a [`Checkpointer`], and a run can begin at any checkpoint instead of at the beginning.

mod builder;
mod mermaid;
mod run;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::Hash;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

pub use builder::{BuildError, ForEach, Graph, GraphBuilder, IntoWork, Placed};

/// What a run knows. Only [`State::apply`] changes it.
pub trait State: Clone + Send + Sync + 'static {
    /// What a node has to say about the state.
    type Update: Send + 'static;

    /// The reducer: takes an update in. Branches of a fan-out end in any order, so their updates must not mind it.
    fn apply(&mut self, update: Self::Update);
}

/// The name of a step: a fieldless enum of the caller, whose `Display` is what spans and diagrams show.
pub trait Step: Copy + Eq + Hash + fmt::Debug + fmt::Display + Send + Sync + 'static {}

impl<T> Step for T where T: Copy + Eq + Hash + fmt::Debug + fmt::Display + Send + Sync + 'static {}

/// What a node may know beside the state.
#[derive(Clone, Debug)]
pub struct Context {
    cancel: CancellationToken,
}

impl Context {
    /// Given when the run should end. The engine never drops a node for it: a node that can take long watches this and
    /// returns by itself, with an update that says what it had by then.
    pub fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }
}

/// The work of a step.
#[async_trait]
pub trait Node<S: State, E>: Send + Sync + 'static {
    /// Reads the state and returns what has become of it. An error ends the run.
    async fn run(&self, state: &S, context: &Context) -> Result<S::Update, E>;
}

/// The work of one branch of a fan-out, on one item.
#[async_trait]
pub trait Branch<S: State, I: Send + 'static, E>: Send + Sync + 'static {
    /// Reads the state as it was when the fan-out began, and the item. An error ends the run and drops the other
    /// branches: a failure that concerns only this item belongs into the update.
    async fn run(&self, state: &S, item: I, context: &Context) -> Result<S::Update, E>;
}

/// A moment of a run at which it can be taken up again.
#[derive(Clone, PartialEq, Eq)]
pub struct Checkpoint<S, T> {
    /// Everything known by then.
    pub state: S,
    /// The step to run next; none at the end. A fan-out is its own next step until all its branches ended: taken up
    /// again it asks for its items once more, so these must leave out what the state has already.
    pub next: Option<T>,
}

/// Shows where, never what: a state holds what people said.
impl<S, T: fmt::Debug> fmt::Debug for Checkpoint<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint").field("next", &self.next).finish_non_exhaustive()
    }
}

/// Where checkpoints go.
#[async_trait]
pub trait Checkpointer<S: State, T: Step, E>: Send + Sync {
    /// Saves the moment; the next step waits for it, branches that still run do not. An error ends the run.
    async fn save(&self, checkpoint: &Checkpoint<S, T>) -> Result<(), E>;
}

/// Keeps nothing: the run cannot be taken up again.
#[derive(Clone, Copy, Debug)]
pub struct NoCheckpoints;

#[async_trait]
impl<S: State, T: Step, E> Checkpointer<S, T, E> for NoCheckpoints {
    async fn save(&self, _checkpoint: &Checkpoint<S, T>) -> Result<(), E> {
        Ok(())
    }
}

/// Where a run begins.
pub enum Start<S, T> {
    /// At the entry.
    Beginning(S),
    /// Where another run was saved.
    At(Checkpoint<S, T>),
}

/// Why a run did not reach its end. After a cancel the steps from `on_cancel` onwards have run.
#[derive(thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum GraphError<S, T, E> {
    #[error("step {step} failed")]
    Node { step: T, source: E },
    #[error("the checkpoint before {next:?} could not be saved")]
    Checkpoint { next: Option<T>, source: E },
    #[error("the run was cancelled")]
    Cancelled { state: S },
    #[error("the run went over its budget of {budget} steps")]
    BudgetExceeded { budget: usize },
    #[error("step {from} went to {to}, which its edge does not declare")]
    Undeclared { from: T, to: T },
    #[error("there is no step {0}")]
    UnknownStep(T),
}

/// Says which error, never the state.
impl<S, T: fmt::Debug + fmt::Display, E: fmt::Debug> fmt::Debug for GraphError<S, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        if let Self::Node { source, .. } | Self::Checkpoint { source, .. } = self {
            write!(f, ": {source:?}")?;
        }
        Ok(())
    }
}
