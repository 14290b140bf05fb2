//! Turns of a Polylogue deployment.

mod http;
mod turn;
mod ws;

use std::sync::Arc;
use std::time::Instant;

use ::http::HeaderValue;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde::Serialize;

use crate::dial::Dialer;
use crate::drive::Work;
use crate::http_client::HttpClient;
use crate::message::question;
use crate::outcome::{Kind, Outcome};
use crate::socket::Socket;
use crate::target::Target;

/// What is asked of a deployment.
#[derive(Clone)]
pub struct Chat {
    /// Makes connections.
    pub dialer: Dialer,
    /// Its addresses: users are spread over them.
    pub targets: Arc<[Target]>,
    /// The credential, as a header.
    pub token: Option<HeaderValue>,
    /// How turns are asked for, and how often each compared with the others.
    pub mix: Arc<[(Kind, u32)]>,
    /// Who answers; nobody: routing decides.
    pub personas: Arc<[String]>,
    /// The length of a message.
    pub message_bytes: usize,
    /// Turns before a user begins another conversation; 1: each is its own, and has no id of ours.
    pub turns_per_conversation: u32,
    /// The share of streams that are dropped midway and resumed.
    pub reconnects: f64,
    /// How often a stream that broke by itself is resumed.
    pub resume_attempts: u32,
    /// Another seed asks other things.
    pub seed: u64,
    /// Makes the ids of this run's conversations unlike those of others.
    pub run: u32,
}

/// One user.
pub struct User {
    number: usize,
    home: HttpClient,
    away: HttpClient,
    home_at: usize,
    socket: Option<Socket>,
    dice: SmallRng,
    turns: u32,
    references: u64,
}

/// `ChatRequest`.
#[derive(Serialize)]
struct ChatRequest<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_id: Option<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    personas: &'a [String],
}

impl Work for Chat {
    type User = User;

    fn user(&self, number: usize) -> User {
        let home_at = number % self.targets.len();
        let away_at = (home_at + 1) % self.targets.len();
        let client =
            |at: usize| HttpClient::new(self.dialer.clone(), self.targets[at].clone(), self.token.clone());
        User {
            number,
            home: client(home_at),
            away: client(away_at),
            home_at,
            socket: None,
            dice: SmallRng::seed_from_u64(self.seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            turns: 0,
            references: 0,
        }
    }

    fn kind(&self, user: &mut User) -> Kind {
        let all: u32 = self.mix.iter().map(|(_, weight)| weight).sum();
        let mut drawn = user.dice.random_range(0..all.max(1));
        for (kind, weight) in &*self.mix {
            match drawn.checked_sub(*weight) {
                Some(left) => drawn = left,
                None => return *kind,
            }
        }
        Kind::Json
    }

    async fn rest(&self, user: &mut User) {
        self.keep_socket(user).await;
    }

    async fn once(&self, user: &mut User, kind: Kind) -> Outcome {
        let mut outcome = Outcome::new(kind);
        let result = match kind {
            Kind::Ws => self.over_socket(user, &mut outcome).await,
            Kind::Sse => self.streamed(user, &mut outcome).await,
            Kind::Follow => self.followed(user, &mut outcome).await,
            Kind::Json | Kind::Whole | Kind::Stream => self.answered(user, &mut outcome).await,
        };
        outcome.result = result;
        outcome
    }
}

impl Chat {
    fn request<'a>(&'a self, user: &mut User, reference: Option<&'a str>) -> ChatRequest<'a> {
        let conversation = user.turns / self.turns_per_conversation.max(1);
        user.turns += 1;
        ChatRequest {
            kind: reference.map(|_| "chat"),
            reference,
            message: question(self.message_bytes, &mut user.dice),
            conversation_id: (self.turns_per_conversation > 1)
                .then(|| format!("load-{:x}-{}-{conversation}", self.run, user.number)),
            personas: &self.personas,
        }
    }

    /// After how many events the connection is dropped, if it is.
    fn drop_after(&self, user: &mut User) -> Option<u64> {
        (self.reconnects > 0.0 && user.dice.random::<f64>() < self.reconnects)
            .then(|| user.dice.random_range(1..=12))
    }
}

/// When the last token of each reply came.
#[derive(Default)]
struct LastTokens(Vec<Option<Instant>>);

impl LastTokens {
    fn of(&mut self, reply: usize) -> &mut Option<Instant> {
        if self.0.len() <= reply {
            self.0.resize(reply + 1, None);
        }
        &mut self.0[reply]
    }
}
