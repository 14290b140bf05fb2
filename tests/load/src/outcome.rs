//! What one request or turn came to.

use std::time::{Duration, Instant};

use crate::fault::Fault;
use crate::verify::Flaws;

/// How a turn was asked for and followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// `POST /chat`: one answer when the turn has ended.
    Json,
    /// `POST /chat/stream`: its events.
    Sse,
    /// A `chat` frame on a kept socket.
    Ws,
    /// `POST /turns`, and then the events, from the next URL if there are several.
    Follow,
    /// A model server's answer in one piece.
    Whole,
    /// A model server's answer as a stream.
    Stream,
}

impl Kind {
    /// Its name in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Sse => "sse",
            Self::Ws => "ws",
            Self::Follow => "follow",
            Self::Whole => "whole",
            Self::Stream => "stream",
        }
    }
}

/// What one request or turn came to.
pub struct Outcome {
    /// How it was asked.
    pub kind: Kind,
    /// Whether the answer was whole and right.
    pub result: Result<(), Fault>,
    /// What was wrong with its events.
    pub flaws: Flaws,
    /// When the first token came.
    pub first_token: Option<Instant>,
    /// The time between two tokens of one reply.
    pub gaps: Vec<Duration>,
    /// Tokens, or events that hold text.
    pub tokens: u64,
    /// Bytes of answers, without headers.
    pub bytes: u64,
    /// Connections that were dropped on purpose and resumed.
    pub dropped: u64,
    /// Connections that broke by themselves and were resumed.
    pub broken: u64,
}

impl Outcome {
    /// Nothing has come yet.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            result: Ok(()),
            flaws: Flaws::default(),
            first_token: None,
            gaps: Vec::new(),
            tokens: 0,
            bytes: 0,
            dropped: 0,
            broken: 0,
        }
    }

    /// Notes a token that came just now; `previous` is when the last one of the same reply came.
    pub fn token(&mut self, previous: &mut Option<Instant>) {
        let now = Instant::now();
        self.tokens += 1;
        self.first_token.get_or_insert(now);
        if let Some(before) = previous.replace(now) {
            self.gaps.push(now - before);
        }
    }
}
