//! What an owner does with a turn: the flow of the chat service, with models that never say the same twice.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use polylogue::turnlog::{Flushed, Live, PushError};
use polylogue::words::{ErrorCode, EventBody, Failure, PersonaId, ReplyStatus, Routing, RoutingSource, Turn};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio_util::sync::CancellationToken;

use super::replica::Replica;

const PERSONAS: [&str; 4] = ["ada", "bob", "eve", "kim"];

/// One owner's part in a turn.
pub struct Part {
    pub replica: Arc<Replica>,
    pub live: Arc<Live>,
    /// Fires when the turn was cancelled or lost.
    pub stop: CancellationToken,
    pub rng: SmallRng,
}

/// The turn is no longer ours.
struct Lost;

impl From<PushError> for Lost {
    fn from(_: PushError) -> Self {
        Self
    }
}

/// Runs the turn from where it is to its end, or to the end of this owner's part in it.
pub async fn run(mut part: Part, so_far: Turn) {
    let (replica, live) = (Arc::clone(&part.replica), Arc::clone(&part.live));
    let ended = tokio::select! {
        ended = tokio::time::timeout_at(replica.deadline, part.flow(so_far)) => ended,
        () = replica.shutdown.overdue().cancelled() => {
            if !live.is_alone() {
                live.release().await;
                return;
            }
            // What the log does not have nobody else can go on with.
            Ok(Ok(EventBody::TurnFailed { error: Failure::new(ErrorCode::Draining, "Ask again.") }))
        }
    };
    let terminal = match ended {
        Ok(Ok(terminal)) => terminal,
        Ok(Err(Lost)) => return,
        Err(_) => EventBody::TurnFailed { error: Failure::new(ErrorCode::ModelTimeout, "Too slow.") },
    };
    end(&replica, &live, terminal).await;
}

/// Ends the turn, or hears that it has ended.
pub async fn end(replica: &Replica, live: &Live, terminal: EventBody) {
    let finished = live.finish(terminal).await;
    replica.link.trace.note(|| format!("{} ended its part: {finished:?}", replica.me()));
}

impl Part {
    async fn flow(&mut self, so_far: Turn) -> Result<EventBody, Lost> {
        let chosen = match &so_far.routing {
            Some(routing) => routing.personas.clone(),
            None => self.route().await?,
        };
        let rngs: Vec<_> = chosen.iter().map(|_| SmallRng::from_rng(&mut self.rng)).collect();
        let replies = chosen.into_iter().zip(rngs).map(|(persona, rng)| {
            let known = so_far.replies.iter().find(|reply| reply.persona == persona);
            self.reply(persona, known.map_or(ReplyStatus::Pending, |reply| reply.status), rng)
        });
        let statuses: Vec<_> = join_all(replies).await.into_iter().collect::<Result<_, _>>()?;
        self.save().await?;
        Ok(self.terminal(&statuses))
    }

    async fn route(&mut self) -> Result<Vec<PersonaId>, Lost> {
        pause(&self.replica, &mut self.rng, 200).await;
        let mut names = PERSONAS;
        names.shuffle(&mut self.rng);
        let count = self.rng.random_range(1..=3);
        let personas: Vec<PersonaId> = names[..count].iter().map(|name| name.parse().unwrap()).collect();
        let routing =
            Routing { personas: personas.clone(), source: RoutingSource::Model, reason: String::new() };
        self.live.push(EventBody::RoutingDecided { routing })?;
        self.save().await?;
        Ok(personas)
    }

    /// One persona's reply, unless it has ended before.
    async fn reply(
        &self,
        persona: PersonaId,
        status: ReplyStatus,
        mut rng: SmallRng,
    ) -> Result<ReplyStatus, Lost> {
        if status.is_terminal() {
            return Ok(status);
        }
        self.live.push(EventBody::ReplyStarted { persona: persona.clone() })?;
        let (mut said, deltas) = (String::new(), rng.random_range(0..12));
        let slowest = [3, 30, 300, 3000, 9000][rng.random_range(0..5)];
        for n in 0..deltas {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return self.cut_short(persona, said),
                () = pause(&self.replica, &mut rng, slowest) => {}
            }
            let text = format!("{n}.{} ", self.live.claim().epoch % 100_000);
            said.push_str(&text);
            self.live.push(EventBody::ReplyDelta { persona: persona.clone(), text })?;
        }
        if rng.random_bool(0.1) {
            let error = Failure::new(ErrorCode::ModelFailed, "No.");
            self.live.push(EventBody::ReplyFailed { persona, error })?;
            return Ok(ReplyStatus::Failed);
        }
        let message_id = self.live.turn().reply_message(0);
        self.live.push(EventBody::ReplyCompleted {
            persona,
            message_id,
            content: said,
            finish_reason: "stop".into(),
            model: None,
            usage: None,
        })?;
        Ok(ReplyStatus::Completed)
    }

    fn cut_short(&self, persona: PersonaId, content: String) -> Result<ReplyStatus, Lost> {
        self.live.push(EventBody::ReplyCancelled { persona, message_id: None, content })?;
        Ok(ReplyStatus::Cancelled)
    }

    async fn save(&self) -> Result<(), Lost> {
        match self.live.flush().await {
            Flushed::Durable | Flushed::Unconfirmed => Ok(()),
            Flushed::Lost(_) => Err(Lost),
        }
    }

    fn terminal(&self, statuses: &[ReplyStatus]) -> EventBody {
        match self.live.cancel_reason() {
            Some(reason) if statuses.contains(&ReplyStatus::Cancelled) => EventBody::TurnCancelled { reason },
            _ if statuses.contains(&ReplyStatus::Completed) => EventBody::TurnCompleted { usage: None },
            _ => EventBody::TurnFailed { error: Failure::new(ErrorCode::ModelFailed, "Nobody answered.") },
        }
    }
}

/// Some time at which the process moves.
async fn pause(replica: &Replica, rng: &mut SmallRng, most_ms: u64) {
    let pause = Duration::from_millis(rng.random_range(0..=most_ms));
    tokio::time::sleep(pause).await;
    replica.link.process.runs().await;
}
