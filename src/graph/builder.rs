//! Writing a graph down, and checking it as a whole.

use std::collections::{HashMap, HashSet};

use futures_util::stream::{self, BoxStream, StreamExt};

use super::{Branch, Context, Node, State, Step};

/// How many steps a run may take where the graph does not say: far above any straight flow, and soon reached by a loop.
const DEFAULT_STEP_BUDGET: usize = 64;

/// A flow, checked. Cheap to share; every run has its own state.
pub struct Graph<S, T, E> {
    pub(super) entry: T,
    pub(super) places: Vec<Place<S, T, E>>,
    pub(super) index: HashMap<T, usize>,
    pub(super) on_cancel: Option<T>,
    /// The steps from `on_cancel` onwards: a cancel leaves a run alone that is there already.
    pub(super) closing: HashSet<T>,
    pub(super) step_budget: usize,
}

impl<S: State, T: Step, E: Send + 'static> Graph<S, T, E> {
    /// Begins a graph whose first step is `entry`.
    pub fn builder(entry: T) -> GraphBuilder<S, T, E> {
        GraphBuilder { entry, places: Vec::new(), on_cancel: None, step_budget: DEFAULT_STEP_BUDGET }
    }
}

/// A step with its work and the edge that leaves it.
pub(super) struct Place<S, T, E> {
    pub(super) step: T,
    pub(super) work: Work<S, E>,
    pub(super) edge: Edge<S, T>,
}

pub enum Work<S, E> {
    One(Box<dyn Node<S, E>>),
    Each(Box<dyn Branches<S, E>>),
}

pub(super) enum Edge<S, T> {
    End,
    To(T),
    Choice { targets: Vec<T>, choose: Read<S, T> },
}

type Read<S, V> = Box<dyn Fn(&S) -> V + Send + Sync>;

impl<S, T: Step> Edge<S, T> {
    pub(super) fn targets(&self) -> &[T] {
        match self {
            Self::End => &[],
            Self::To(target) => std::slice::from_ref(target),
            Self::Choice { targets, .. } => targets,
        }
    }
}

/// A fan-out whose kind of item is forgotten.
pub trait Branches<S: State, E>: Send + Sync {
    /// The branches' updates in the order in which they end.
    fn begin<'a>(&'a self, state: &'a S, context: &'a Context) -> BoxStream<'a, Result<S::Update, E>>;
}

/// One branch per item of the state.
pub struct ForEach<S, I, N> {
    branch: N,
    items: Read<S, Vec<I>>,
    in_parallel: Read<S, bool>,
}

impl<S: State, I: Send + 'static, E: Send + 'static, N: Branch<S, I, E>> Branches<S, E> for ForEach<S, I, N> {
    fn begin<'a>(&'a self, state: &'a S, context: &'a Context) -> BoxStream<'a, Result<S::Update, E>> {
        let items = (self.items)(state);
        let at_once = if (self.in_parallel)(state) { items.len().max(1) } else { 1 };
        stream::iter(items)
            .take_while(|_| std::future::ready(!context.cancel().is_cancelled()))
            .map(move |item| self.branch.run(state, item, context))
            .buffer_unordered(at_once)
            .boxed()
    }
}

/// What can be a step's work: a [`Node`], or a [`ForEach`] over a [`Branch`].
pub trait IntoWork<S, E, K> {
    /// Makes it one.
    fn into_work(self) -> Work<S, E>;
}

impl<S: State, E, N: Node<S, E>> IntoWork<S, E, ()> for N {
    fn into_work(self) -> Work<S, E> {
        Work::One(Box::new(self))
    }
}

impl<S: State, I: Send + 'static, E: Send + 'static, N> IntoWork<S, E, Vec<I>> for ForEach<S, I, N>
where
    N: Branch<S, I, E>,
{
    fn into_work(self) -> Work<S, E> {
        Work::Each(Box::new(self))
    }
}

/// A graph being written down.
#[must_use]
pub struct GraphBuilder<S, T, E> {
    entry: T,
    places: Vec<Place<S, T, E>>,
    on_cancel: Option<T>,
    step_budget: usize,
}

impl<S: State, T: Step, E: Send + 'static> GraphBuilder<S, T, E> {
    /// Adds a step; what follows says how the flow leaves it. A [`Node`] is left by `then`, `route_to` or `ends`; a
    /// [`Branch`] first says `for_each`.
    pub fn node<N>(self, step: T, node: N) -> Placed<S, T, E, N> {
        Placed { builder: self, step, node }
    }

    /// The step that runs next after a cancel, once the running step has ended, and the flow goes on from there to its
    /// end. These steps get a token that nobody has cancelled. Without it a cancelled run just stops.
    pub fn on_cancel(mut self, step: T) -> Self {
        self.on_cancel = Some(step);
        self
    }

    /// How many steps one run may take; a fan-out counts as one.
    pub fn step_budget(mut self, steps: usize) -> Self {
        self.step_budget = steps;
        self
    }

    /// Checks every step and every edge.
    pub fn build(self) -> Result<Graph<S, T, E>, BuildError<T>> {
        let index = self.index()?;
        self.check_targets(&index)?;

        let closing: HashSet<T> = self.on_cancel.map(|step| self.reachable(&index, step)).unwrap_or_default();
        let reached = self.reachable(&index, self.entry);
        for Place { step, .. } in &self.places {
            if !reached.contains(step) && !closing.contains(step) {
                return Err(BuildError::Unreachable(*step));
            }
            let ends = |step: &T| matches!(self.places[index[step]].edge, Edge::End);
            if !self.reachable(&index, *step).iter().any(ends) {
                return Err(BuildError::NoEnd(*step));
            }
        }

        let Self { entry, places, on_cancel, step_budget } = self;
        Ok(Graph { entry, places, index, on_cancel, closing, step_budget })
    }

    fn index(&self) -> Result<HashMap<T, usize>, BuildError<T>> {
        let mut index = HashMap::new();
        for (at, place) in self.places.iter().enumerate() {
            if index.insert(place.step, at).is_some() {
                return Err(BuildError::Duplicate(place.step));
            }
        }
        Ok(index)
    }

    fn check_targets(&self, index: &HashMap<T, usize>) -> Result<(), BuildError<T>> {
        if !index.contains_key(&self.entry) {
            return Err(BuildError::NoEntry(self.entry));
        }
        if let Some(step) = self.on_cancel.filter(|step| !index.contains_key(step)) {
            return Err(BuildError::NoCancelStep(step));
        }
        let edges =
            self.places.iter().flat_map(|place| place.edge.targets().iter().map(|to| (place.step, *to)));
        let mut broken = edges.filter(|(_, to)| !index.contains_key(to));
        broken.next().map_or(Ok(()), |(from, to)| Err(BuildError::UnknownTarget { from, to }))
    }

    /// `from` and everything that may follow it.
    fn reachable(&self, index: &HashMap<T, usize>, from: T) -> HashSet<T> {
        let mut reached = HashSet::new();
        let mut ahead = vec![from];
        while let Some(step) = ahead.pop() {
            if reached.insert(step) {
                ahead.extend_from_slice(self.places[index[&step]].edge.targets());
            }
        }
        reached
    }
}

/// A step that still has to say how the flow leaves it. `K` tells a node from a fan-out and is always inferred.
#[must_use]
pub struct Placed<S, T, E, N> {
    builder: GraphBuilder<S, T, E>,
    step: T,
    node: N,
}

impl<S: State, T: Step, E: Send + 'static, N> Placed<S, T, E, N> {
    /// `next` follows; after a fan-out when all branches have ended.
    pub fn then<K>(self, next: T) -> GraphBuilder<S, T, E>
    where
        N: IntoWork<S, E, K>,
    {
        self.leave_by(Edge::To(next))
    }

    /// One of `targets` follows, chosen by the state.
    pub fn route_to<K, F>(self, targets: impl IntoIterator<Item = T>, choose: F) -> GraphBuilder<S, T, E>
    where
        N: IntoWork<S, E, K>,
        F: Fn(&S) -> T + Send + Sync + 'static,
    {
        self.leave_by(Edge::Choice { targets: targets.into_iter().collect(), choose: Box::new(choose) })
    }

    /// Nothing follows.
    pub fn ends<K>(self) -> GraphBuilder<S, T, E>
    where
        N: IntoWork<S, E, K>,
    {
        self.leave_by(Edge::End)
    }

    /// Runs one branch per item, all at once; the step has ended when all have. The items must leave out what the state
    /// has already, because a run that is taken up again asks for them again.
    pub fn for_each<I, F>(self, items: F) -> Placed<S, T, E, ForEach<S, I, N>>
    where
        I: Send + 'static,
        F: Fn(&S) -> Vec<I> + Send + Sync + 'static,
        N: Branch<S, I, E>,
    {
        let each = ForEach { branch: self.node, items: Box::new(items), in_parallel: Box::new(|_| true) };
        Placed { builder: self.builder, step: self.step, node: each }
    }

    fn leave_by<K>(self, edge: Edge<S, T>) -> GraphBuilder<S, T, E>
    where
        N: IntoWork<S, E, K>,
    {
        let Self { mut builder, step, node } = self;
        builder.places.push(Place { step, work: node.into_work(), edge });
        builder
    }
}

impl<S: State, T: Step, E: Send + 'static, I, N> Placed<S, T, E, ForEach<S, I, N>> {
    /// Where the state says no, the branches run one after the other, in the order of the items.
    pub fn in_parallel_if(mut self, predicate: impl Fn(&S) -> bool + Send + Sync + 'static) -> Self {
        self.node.in_parallel = Box::new(predicate);
        self
    }
}

/// What is wrong with a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BuildError<T> {
    #[error("step {0} is there twice")]
    Duplicate(T),
    #[error("the entry {0} has no node")]
    NoEntry(T),
    #[error("the step after a cancel, {0}, has no node")]
    NoCancelStep(T),
    #[error("step {from} leads to {to}, which has no node")]
    UnknownTarget { from: T, to: T },
    #[error("step {0} cannot be reached")]
    Unreachable(T),
    #[error("no end can be reached from step {0}")]
    NoEnd(T),
}
