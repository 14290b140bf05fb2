//! Running a graph: one step after the other, a fan-out's branches at once.

use std::collections::VecDeque;

use futures_util::stream::{BoxStream, Fuse, StreamExt};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span};

use super::builder::{Branches, Edge, Place, Work};
use super::{Checkpoint, Checkpointer, Context, Graph, GraphError, Start, State, Step};

type Outcome<V, S, T, E> = Result<V, GraphError<S, T, E>>;

impl<S: State, T: Step, E: Send + 'static> Graph<S, T, E> {
    /// Runs from `start` to the end and returns the last state. After every node and every branch the run is saved.
    /// When `cancel` is given no further step or branch begins, except those from `on_cancel` onwards; the running ones
    /// end by themselves and their updates count; then the result is [`GraphError::Cancelled`].
    pub async fn run(
        &self,
        start: Start<S, T>,
        checkpoints: &dyn Checkpointer<S, T, E>,
        cancel: CancellationToken,
    ) -> Outcome<S, S, T, E> {
        let mut point = match start {
            Start::Beginning(state) => Checkpoint { state, next: Some(self.entry) },
            Start::At(point) => point,
        };
        let mut run = Run { graph: self, checkpoints, context: Context { cancel }, cancelled: false };
        let mut taken = 0;
        while let Some(step) = point.next {
            let Some(step) = run.unless_cancelled(step) else {
                return Err(GraphError::Cancelled { state: point.state });
            };
            if taken == self.step_budget {
                return Err(GraphError::BudgetExceeded { budget: taken });
            }
            taken += 1;
            run.step(step, &mut point).await?;
        }
        if run.cancelled { Err(GraphError::Cancelled { state: point.state }) } else { Ok(point.state) }
    }
}

/// One run on its way.
struct Run<'a, S, T, E> {
    graph: &'a Graph<S, T, E>,
    checkpoints: &'a dyn Checkpointer<S, T, E>,
    context: Context,
    cancelled: bool,
}

impl<S: State, T: Step, E: Send + 'static> Run<'_, S, T, E> {
    /// The step to run: `step`, or after a cancel the first one that runs all the same, or none.
    fn unless_cancelled(&mut self, step: T) -> Option<T> {
        if self.cancelled || !self.context.cancel.is_cancelled() {
            return Some(step);
        }
        self.cancelled = true;
        self.context.cancel = CancellationToken::new();
        if self.graph.closing.contains(&step) { Some(step) } else { self.graph.on_cancel }
    }

    /// Runs a step and moves `point` behind it.
    async fn step(&self, step: T, point: &mut Checkpoint<S, T>) -> Outcome<(), S, T, E> {
        let at = self.graph.index.get(&step).ok_or(GraphError::UnknownStep(step))?;
        let place = &self.graph.places[*at];
        let span =
            info_span!("graph.node", otel.name = format!("graph.node {step}"), polylogue.graph.node = %step);
        async {
            match &place.work {
                Work::One(node) => {
                    let ended = node.run(&point.state, &self.context).await;
                    point.state.apply(ended.map_err(|source| GraphError::Node { step, source })?);
                }
                Work::Each(branches) => self.branches(step, branches.as_ref(), point).await?,
            }
            point.next = follow(place, &point.state)?;
            self.save(point).await
        }
        .instrument(span)
        .await
    }

    /// Runs a fan-out's branches and takes in their updates as they end.
    async fn branches(
        &self,
        step: T,
        branches: &dyn Branches<S, E>,
        point: &mut Checkpoint<S, T>,
    ) -> Outcome<(), S, T, E> {
        let begun_with = point.state.clone();
        let mut running = branches.begin(&begun_with, &self.context).fuse();
        let mut ended = VecDeque::new();

        point.next = Some(step);
        loop {
            if ended.is_empty() {
                ended.extend(running.next().await);
            }
            let Some(update) = ended.pop_front() else { return Ok(()) };
            point.state.apply(update.map_err(|source| GraphError::Node { step, source })?);
            self.save_beside(point, &mut running, &mut ended).await?;
        }
    }

    /// Saves without making the other branches wait for it: what ends meanwhile is taken in afterwards.
    async fn save_beside(
        &self,
        point: &Checkpoint<S, T>,
        running: &mut Running<'_, S, E>,
        ended: &mut VecDeque<Result<S::Update, E>>,
    ) -> Outcome<(), S, T, E> {
        let saving = self.save(point);
        tokio::pin!(saving);
        loop {
            tokio::select! {
                biased;
                saved = &mut saving => return saved,
                Some(update) = running.next() => ended.push_back(update),
            }
        }
    }

    async fn save(&self, point: &Checkpoint<S, T>) -> Outcome<(), S, T, E> {
        let saved = self.checkpoints.save(point).await;
        saved.map_err(|source| GraphError::Checkpoint { next: point.next, source })
    }
}

type Running<'a, S, E> = Fuse<BoxStream<'a, Result<<S as State>::Update, E>>>;

/// What follows a step; none at the end.
fn follow<S: State, T: Step, E>(place: &Place<S, T, E>, state: &S) -> Outcome<Option<T>, S, T, E> {
    match &place.edge {
        Edge::End => Ok(None),
        Edge::To(next) => Ok(Some(*next)),
        Edge::Choice { targets, choose } => {
            let to = choose(state);
            targets.contains(&to).then_some(Some(to)).ok_or(GraphError::Undeclared { from: place.step, to })
        }
    }
}
