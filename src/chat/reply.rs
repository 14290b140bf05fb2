//! One persona's part of a turn.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span, warn};

use super::cast::Cast;
use super::flow::{FlowError, Seat, Tools};
use super::meter::ModelClock;
use super::personas::{Persona, Personas};
use super::prompt::{self, Seal};
use super::state::{Stop, Task, TurnState, Update};
use crate::graph::{Branch, Context};
use crate::llm::{ChatModel, Chunk, Ending, LlmError, ModelRequest};
use crate::telemetry::Chain;
use crate::telemetry::metrics::{Label as _, Metrics, Name, ReplyOutcome};
use crate::words::{ErrorCode, EventBody, Failure, PersonaId, Reply, ReplyStatus};

/// The node that lets one chosen persona speak.
pub struct Speak {
    model: Arc<dyn ChatModel>,
    personas: Arc<Personas>,
    metrics: Arc<Metrics>,
}

/// How a reply ended.
enum End {
    Completed(Ending),
    Failed(Failure),
    Stopped,
}

impl Speak {
    /// Speaks with these tools.
    pub fn new(tools: &Tools) -> Self {
        for persona in tools.personas.all() {
            let label = Name::from(persona.id.as_str());
            ReplyOutcome::ALL
                .iter()
                .for_each(|outcome| tools.metrics.turns.replies.touch(&(label.clone(), *outcome)));
        }
        Self {
            model: Arc::clone(&tools.model),
            personas: Arc::clone(&tools.personas),
            metrics: Arc::clone(&tools.metrics),
        }
    }
}

#[async_trait]
impl Branch<TurnState, Seat, FlowError> for Speak {
    async fn run(&self, state: &TurnState, (place, id): Seat, _: &Context) -> Result<Update, FlowError> {
        let span = info_span!(
            "reply",
            otel.name = %format_args!("invoke_agent {id}"),
            gen_ai.operation.name = "invoke_agent",
            gen_ai.agent.name = %id,
            gen_ai.conversation.id = %state.task.conversation.id(),
            polylogue.reply.outcome = Empty,
            error.type = Empty,
            persona = %id,
        );
        self.speak(state, place, &id).instrument(span).await
    }
}

impl Speak {
    async fn speak(&self, state: &TurnState, place: usize, id: &PersonaId) -> Result<Update, FlowError> {
        let task = &state.task;
        if task.stop.is_cancelled() {
            return Ok(Update::Nothing);
        }
        let (started, clock) = (Instant::now(), ModelClock::default());
        let mut content = String::new();
        let end = match say(task, EventBody::ReplyStarted { persona: id.clone() })? {
            Some(end) => end,
            None => self.listen(state, id, &clock, &mut content).await?,
        };
        let reply = finished(state, place, id, content, end);
        let outcome = outcome(reply.status);
        self.metrics.turns.replies.inc(&(Name::from(id.as_str()), outcome));
        Span::current().record("polylogue.reply.outcome", outcome.as_label());
        if let Some(error) = &reply.error {
            Span::current().record("error.type", error.code.as_str());
        }
        task.live.push(event_of(&reply))?;
        let ours = started.elapsed().saturating_sub(clock.total());
        self.metrics.turns.reply_overhead.observe(&(), ours);
        Ok(Update::Replied(reply))
    }

    /// Asks the model and passes on what it says, until it ends, fails, or the turn has to stop. What is spent waiting
    /// for the model, retries included, is the model's time in the turn's clock and in this reply's; the rest is ours.
    async fn listen(
        &self,
        state: &TurnState,
        id: &PersonaId,
        clock: &ModelClock,
        content: &mut String,
    ) -> Result<End, FlowError> {
        let task = &state.task;
        let Some(persona) = self.personas.find(id) else {
            let gone = Failure::new(ErrorCode::PersonaNotFound, "This persona no longer exists.");
            return Ok(End::Failed(gone));
        };
        let request = self.request(state, persona);
        let mut stream = tokio::select! {
            opened = task.clock.during(clock.during(self.model.stream(request))) => match opened {
                Ok(stream) => stream,
                Err(error) => return Ok(failed(task, &error)),
            },
            () = task.stop.cancelled() => return Ok(End::Stopped),
        };
        // What is there is taken first, without looking out for a stop meanwhile: most of a burst of tokens is.
        while !task.stop.is_cancelled() {
            let chunk = tokio::select! {
                biased;
                chunk = task.clock.during(clock.during(stream.next())) => chunk.unwrap_or(Err(LlmError::Cut)),
                () = task.stop.cancelled() => return Ok(End::Stopped),
            };
            match chunk {
                Ok(Chunk::Text(text)) => {
                    content.push_str(&text);
                    if let Some(end) = say(task, EventBody::ReplyDelta { persona: id.clone(), text })? {
                        return Ok(end);
                    }
                    task.spoke(&self.metrics);
                }
                Ok(Chunk::End(ending)) => return Ok(End::Completed(ending)),
                Err(error) => return Ok(failed(task, &error)),
            }
        }
        Ok(End::Stopped)
    }

    fn request(&self, state: &TurnState, persona: &Persona) -> ModelRequest {
        let task = &state.task;
        let cast = Cast::new(&self.personas, &task.personas);
        let seal = Seal::of(task.turn);
        ModelRequest {
            model: persona.model.clone(),
            prompt: prompt::of_reply(persona, cast, &state.history, &task.request.message, &seal),
            temperature: persona.temperature,
            max_tokens: persona.max_tokens,
            schema: None,
            request_id: task.request_id.clone(),
            deadline: task.deadline,
            cause: task.cause,
        }
    }
}

/// Logs what begins or continues a reply; ends the reply where the turn's log is full.
fn say(task: &Task, event: EventBody) -> Result<Option<End>, FlowError> {
    match task.live.push(event).map_err(FlowError::from) {
        Ok(_) => Ok(None),
        Err(FlowError::Full) => Ok(Some(End::Failed(too_large()))),
        Err(lost @ FlowError::Lost) => Err(lost),
    }
}

/// What is told where a turn's log has no room for more.
pub(super) fn too_large() -> Failure {
    Failure::new(ErrorCode::ModelFailed, "The answers are larger than a turn may be.")
}

fn failed(task: &Task, error: &LlmError) -> End {
    let (failure, why) = (error.failure(), Chain(error).to_string());
    warn!(event = "reply_failed", code = failure.code.as_str(), error = why, "the model did not answer");
    let _ = task.broke.set(why);
    End::Failed(failure)
}

/// The reply as it stands in the turn, in its log and in what is remembered.
fn finished(state: &TurnState, place: usize, id: &PersonaId, content: String, end: End) -> Reply {
    let message_id = (!content.trim().is_empty()).then(|| state.message_id(place));
    let base = Reply { content, message_id, ..Reply::pending(id.clone()) };
    match end {
        End::Completed(ending) => Reply {
            status: ReplyStatus::Completed,
            message_id: Some(state.message_id(place)),
            finish_reason: Some(ending.finish_reason),
            model: ending.model,
            usage: ending.usage,
            ..base
        },
        End::Failed(failure) => {
            Reply { status: ReplyStatus::Failed, error: Some(failure), message_id: None, ..base }
        }
        End::Stopped => match state.task.why() {
            Some(Stop::Draining) => {
                let failure = Failure::new(ErrorCode::Draining, "This server is stopping; ask again.");
                Reply { status: ReplyStatus::Failed, error: Some(failure), message_id: None, ..base }
            }
            Some(Stop::Cancel(_)) | None => Reply { status: ReplyStatus::Cancelled, ..base },
        },
    }
}

fn event_of(reply: &Reply) -> EventBody {
    let persona = reply.persona.clone();
    match (reply.status, reply.message_id, &reply.error) {
        (ReplyStatus::Completed, Some(message_id), _) => EventBody::ReplyCompleted {
            persona,
            message_id,
            content: reply.content.clone(),
            finish_reason: reply.finish_reason.clone().unwrap_or_default(),
            model: reply.model.clone(),
            usage: reply.usage,
        },
        (ReplyStatus::Failed, _, Some(error)) => EventBody::ReplyFailed { persona, error: error.clone() },
        (_, message_id, _) => {
            EventBody::ReplyCancelled { persona, message_id, content: reply.content.clone() }
        }
    }
}

fn outcome(status: ReplyStatus) -> ReplyOutcome {
    match status {
        ReplyStatus::Completed => ReplyOutcome::Completed,
        ReplyStatus::Failed => ReplyOutcome::Failed,
        ReplyStatus::Cancelled | ReplyStatus::Pending | ReplyStatus::Running => ReplyOutcome::Cancelled,
    }
}
