//! Running a turn to its end, whoever started it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout_at;
use tracing::field::Empty;
use tracing::{Instrument as _, Span, error, info, info_span};

use super::flow::{Flow, FlowError};
use super::reply::too_large;
use super::state::{Step, Stop, Task, TurnState};
use crate::config::OnDisconnect;
use crate::graph::{Checkpoint, Checkpointer, GraphError, Start};
use crate::shutdown::Shutdown;
use crate::telemetry::Chain;
use crate::telemetry::metrics::{Label as _, Metrics, ModelCause, TurnOutcome};
use crate::telemetry::traces::TraceContext;
use crate::turnlog::{Finished, Flushed};
use crate::words::{CancelReason, ErrorCode, EventBody, Failure, ReplyStatus, Usage};

/// A turn that is past its deadline gets this long to end by itself (its model calls end at the deadline) before it is
/// ended where it stands.
const DEADLINE_SLACK: Duration = Duration::from_secs(5);

/// How long a turn goes on after its last reader left, where the setting says that it should not go on alone.
const ALONE: Duration = Duration::from_secs(5);

/// Runs turns.
pub struct Runner {
    flow: Flow,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    on_disconnect: OnDisconnect,
    /// Whether another replica was alive when this one last looked.
    others: AtomicBool,
}

/// A turn's checkpoint is the fold of its log: saving means that everything logged so far is durable.
struct LogCheckpoints(Arc<Task>);

#[async_trait]
impl Checkpointer<TurnState, Step, FlowError> for LogCheckpoints {
    async fn save(&self, _: &Checkpoint<TurnState, Step>) -> Result<(), FlowError> {
        match self.0.live.flush().await {
            Flushed::Durable | Flushed::Unconfirmed => Ok(()),
            Flushed::Lost(_) => Err(FlowError::Lost),
        }
    }
}

impl Runner {
    /// Runs turns by this flow.
    pub fn new(flow: Flow, metrics: Arc<Metrics>, shutdown: Shutdown, on_disconnect: OnDisconnect) -> Self {
        Self { flow, metrics, shutdown, on_disconnect, others: AtomicBool::new(false) }
    }

    /// Notes whether there is another replica that could go on with this one's turns.
    pub fn note_others(&self, alive: bool) {
        self.others.store(alive, Ordering::Relaxed);
    }

    /// The flow as a Mermaid diagram.
    pub fn mermaid(&self) -> String {
        self.flow.mermaid()
    }

    /// Runs the turn on a task of its own.
    pub fn spawn(self: &Arc<Self>, state: TurnState) {
        let runner = Arc::clone(self);
        let task = &state.task;
        let span = span(task);
        let running = async move {
            let _in_flight = runner.metrics.turns.in_flight.hold();
            runner.run(state).await;
        };
        self.shutdown.spawn(running.instrument(span));
    }

    async fn run(&self, state: TurnState) {
        let task = Arc::clone(&state.task);
        let ended = tokio::select! {
            ended = self.flow_to_end(state) => ended,
            never = self.watch(&task) => match never {},
        };
        let Some(terminal) = ended else {
            info!(event = "turn_fenced", "the turn goes on elsewhere");
            return;
        };
        self.count(&task, &terminal);
        match task.live.finish(terminal).await {
            Finished::Durable | Finished::Unconfirmed => {}
            Finished::Lost(loss) => info!(event = "turn_fenced", ?loss, "the turn was ended elsewhere"),
        }
    }

    /// Runs the flow; answers the terminal event, or nothing if the turn is no longer ours.
    async fn flow_to_end(&self, state: TurnState) -> Option<EventBody> {
        let task = Arc::clone(&state.task);
        let checkpoints = LogCheckpoints(Arc::clone(&task));
        let running = self.flow.run(Start::Beginning(state), &checkpoints, task.stop.clone());
        match timeout_at(task.deadline + DEADLINE_SLACK, running).await {
            Ok(Ok(state) | Err(GraphError::Cancelled { state })) => Some(terminal(&state)),
            Ok(Err(
                GraphError::Node { source: FlowError::Lost, .. }
                | GraphError::Checkpoint { source: FlowError::Lost, .. },
            )) => None,
            Ok(Err(GraphError::Node { source: FlowError::Full, .. })) => {
                Some(EventBody::TurnFailed { error: too_large() })
            }
            Ok(Err(error)) => {
                error!(event = "flow_failed", error = %Chain(&error), "the flow of a turn is wrong");
                let _ = task.broke.set(Chain(&error).to_string());
                Some(failed(ErrorCode::Internal, "The log of the server knows more."))
            }
            Err(_) => Some(failed(ErrorCode::ModelTimeout, "The turn did not end within its deadline.")),
        }
    }

    /// Watches for reasons to end the turn early; ends only with the turn itself.
    async fn watch(&self, task: &Task) -> std::convert::Infallible {
        let alone = async {
            match self.on_disconnect {
                OnDisconnect::Continue => std::future::pending().await,
                OnDisconnect::Cancel => task.live.abandoned_for(ALONE).await,
            }
        };
        tokio::select! {
            () = self.shutdown.overdue().cancelled() => self.leave(task).await,
            () = alone => task.live.cancel(CancelReason::Disconnect),
        }
        std::future::pending().await
    }

    /// The replica stops before the turn has ended: another one goes on with it, or where there is none it ends.
    async fn leave(&self, task: &Task) {
        // What the shared log does not have nobody else can go on with.
        if self.others.load(Ordering::Relaxed) && !task.live.is_alone() {
            // Lost to another either way; its readers go on wherever they connect next.
            let _ = task.live.release().await;
        } else {
            task.drain();
        }
    }

    fn count(&self, task: &Task, terminal: &EventBody) {
        let (outcome, usage, code) = summary(terminal);
        let (took, model) = (task.arrived.elapsed(), task.clock.total());
        let overhead = took.saturating_sub(model);
        self.metrics.turns.total.inc(&(outcome,));
        self.metrics.turns.duration.observe(&(outcome,), took);
        self.metrics.turns.overhead.observe(&(), overhead);
        note_end(outcome, usage, code);
        info!(
            event = "turn_finished",
            outcome = outcome.as_label(),
            duration_ms = took.as_millis() as u64,
            first_token_ms = task.spoke.get().map(|at| at.duration_since(task.arrived).as_millis() as u64),
            model_ms = model.as_millis() as u64,
            overhead_us = overhead.as_micros() as u64,
            input_tokens = usage.input_tokens,
            output_tokens = usage.output_tokens,
            code,
            error = task.broke.get(),
            "turn finished"
        );
    }
}

/// A turn's span: below its request's, or where the turn goes on here, the root of a trace that is linked to it.
fn span(task: &Task) -> Span {
    let is_takeover = task.cause == ModelCause::Takeover;
    let follows = task.follows.as_ref().map(TraceContext::whole);
    info_span!(
        "turn",
        otel.name = "invoke_workflow polylogue",
        otel.follows = follows,
        otel.summary = true,
        gen_ai.operation.name = "invoke_workflow",
        gen_ai.agent.name = "polylogue",
        gen_ai.conversation.id = %task.conversation.id(),
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        polylogue.request.id = %task.request_id,
        polylogue.turn.id = %task.turn,
        polylogue.turn.outcome = Empty,
        polylogue.turn.takeover = is_takeover.then_some(true),
        error.type = Empty,
        turn_id = %task.turn,
        conversation_id = %task.conversation.id(),
        request_id = %task.request_id,
        client = task.principal.log_name(),
    )
}

/// What the turn's span says of its end.
fn note_end(outcome: TurnOutcome, usage: Usage, code: Option<&str>) {
    let span = Span::current();
    span.record("polylogue.turn.outcome", outcome.as_label());
    span.record("gen_ai.usage.input_tokens", usage.input_tokens);
    span.record("gen_ai.usage.output_tokens", usage.output_tokens);
    span.record("error.type", code);
}

/// How the turn ended, as `state.md` §3 defines it.
fn terminal(state: &TurnState) -> EventBody {
    let has = |status| state.replies.iter().any(|reply| reply.status == status);
    let open = state.replies.is_empty() || !state.unfinished().is_empty() || has(ReplyStatus::Cancelled);
    match state.task.why() {
        Some(Stop::Cancel(reason)) if open => EventBody::TurnCancelled { reason },
        _ if has(ReplyStatus::Completed) => EventBody::TurnCompleted {
            usage: Usage::sum(state.replies.iter().filter_map(|reply| reply.usage)),
        },
        Some(Stop::Draining) => failed(ErrorCode::Draining, "This server is stopping; ask again."),
        _ => EventBody::TurnFailed { error: state.failure() },
    }
}

fn failed(code: ErrorCode, detail: &str) -> EventBody {
    EventBody::TurnFailed { error: Failure::new(code, detail) }
}

/// What a turn's end means for metrics and the log.
fn summary(terminal: &EventBody) -> (TurnOutcome, Usage, Option<&'static str>) {
    if let EventBody::TurnCompleted { usage } = terminal {
        return (TurnOutcome::Completed, usage.unwrap_or_default(), None);
    }
    if let EventBody::TurnFailed { error } = terminal {
        return (TurnOutcome::Failed, Usage::default(), Some(error.code.as_str()));
    }
    (TurnOutcome::Cancelled, Usage::default(), None)
}
