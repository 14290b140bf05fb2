//! A small flow of its own, shaped like ours: gather, split, one branch per word, then sum up.

mod building;
mod running;

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    Gather,
    Split,
    Count,
    Sum,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gather => "gather",
            Self::Split => "split",
            Self::Count => "count",
            Self::Sum => "sum",
        })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tally {
    trail: Vec<Stage>,
    words: Vec<&'static str>,
    /// In the order of ending.
    counted: Vec<(&'static str, usize)>,
    sum: Option<usize>,
    one_by_one: bool,
}

impl Tally {
    fn uncounted(&self) -> Vec<&'static str> {
        let done = |word: &&str| self.counted.iter().any(|(counted, _)| counted == word);
        self.words.iter().copied().filter(|word| !done(word)).collect()
    }
}

enum Said {
    Passed(Stage),
    Words(Vec<&'static str>),
    Counted(&'static str, usize),
    Sum(usize),
}

impl State for Tally {
    type Update = Said;
    fn apply(&mut self, update: Said) {
        match update {
            Said::Passed(stage) => self.trail.push(stage),
            Said::Words(words) => self.words = words,
            Said::Counted(word, length) => self.counted.push((word, length)),
            Said::Sum(sum) => self.sum = Some(sum),
        }
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
struct Fault(&'static str);

/// Notes that it was there.
struct Pass(Stage);

#[async_trait]
impl Node<Tally, Fault> for Pass {
    async fn run(&self, _state: &Tally, _context: &Context) -> Result<Said, Fault> {
        Ok(Said::Passed(self.0))
    }
}

struct Split(&'static [&'static str]);

#[async_trait]
impl Node<Tally, Fault> for Split {
    async fn run(&self, _state: &Tally, _context: &Context) -> Result<Said, Fault> {
        Ok(Said::Words(self.0.to_vec()))
    }
}

/// Takes a second per letter; a cancel makes it say what it has by then.
struct Count;

#[async_trait]
impl Branch<Tally, &'static str, Fault> for Count {
    async fn run(&self, _state: &Tally, word: &'static str, context: &Context) -> Result<Said, Fault> {
        if word == "bad" {
            return Err(Fault("a bad word"));
        }
        let mut counted = 0;
        for _ in word.chars() {
            tokio::select! {
                () = context.cancel().cancelled() => break,
                () = tokio::time::sleep(Duration::from_secs(1)) => counted += 1,
            }
        }
        Ok(Said::Counted(word, counted))
    }
}

struct Sum;

#[async_trait]
impl Node<Tally, Fault> for Sum {
    async fn run(&self, state: &Tally, context: &Context) -> Result<Said, Fault> {
        assert!(!context.cancel().is_cancelled(), "what runs after a cancel is not cancelled itself");
        Ok(Said::Sum(state.counted.iter().map(|(_, length)| length).sum()))
    }
}

/// Keeps every checkpoint.
#[derive(Default)]
struct Recorded(Mutex<Vec<Checkpoint<Tally, Stage>>>);

impl Recorded {
    fn all(&self) -> Vec<Checkpoint<Tally, Stage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Checkpointer<Tally, Stage, Fault> for Recorded {
    async fn save(&self, checkpoint: &Checkpoint<Tally, Stage>) -> Result<(), Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(checkpoint.clone());
        Ok(())
    }
}

fn flow(words: &'static [&'static str]) -> GraphBuilder<Tally, Stage, Fault> {
    Graph::builder(Stage::Gather)
        .node(Stage::Gather, Pass(Stage::Gather))
        .then(Stage::Split)
        .node(Stage::Split, Split(words))
        .then(Stage::Count)
        .node(Stage::Count, Count)
        .for_each(|tally: &Tally| tally.uncounted())
        .in_parallel_if(|tally| !tally.one_by_one)
        .then(Stage::Sum)
        .node(Stage::Sum, Sum)
        .ends()
}
