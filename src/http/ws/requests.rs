//! What a client has asked for and is not done yet. Works beside the socket's loop, so that a slow answer holds up
//! neither the events of other turns nor the heartbeat.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::timeout;
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};

use super::frames::{ClientFrame, Reference};
use crate::chat::{Caller, ChatError, ChatRequest, Reader};
use crate::http::problem::Problem;
use crate::http::{Identity, Services};
use crate::limits::{Standing, Verdict};
use crate::telemetry::metrics::{Label as _, Transport};
use crate::telemetry::traces::TraceContext;
use crate::words::{ConversationId, ErrorCode, EventId, Failure, RequestId, TurnId, TurnStatus};

/// Cancels under way on one socket; each takes 2 s at most.
const MAX_CANCELS: usize = 16;
/// How long what was asked for may go on when its socket has closed: above what any of it takes.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);
/// A `chat` frame is this operation to the limits, a `resume` frame that one.
const CHAT: &str = "POST /api/v1/chat/stream";
const RESUME: &str = "GET /api/v1/turns/{turn_id}/events";

/// What became of a request.
pub(super) enum Outcome {
    /// A turn can be followed; `None` when it has ended and all of it was seen.
    Follow(Option<Reader>),
    /// A cancel was accepted.
    Cancelling(TurnId, TurnStatus),
    /// It cannot be done.
    Refused(Box<Problem>),
}

/// A request's outcome, and what to call it.
pub(super) struct Answer {
    pub reference: Reference,
    pub request_id: RequestId,
    pub outcome: Outcome,
}

/// One socket's requests under way: `chat` and `resume` one after the other, cancels beside them.
#[derive(Default)]
pub(super) struct Requests {
    follow: Option<BoxFuture<'static, Answer>>,
    cancels: FuturesUnordered<BoxFuture<'static, Answer>>,
}

/// One request, with all it needs to be carried out.
pub(super) struct Ask {
    pub services: Services,
    pub identity: Identity,
    pub reference: Reference,
    pub span: Span,
}

impl Requests {
    /// Whether a `chat` or `resume` is under way; until it is done no further frame should be read, so that a client's
    /// frames take effect in their order.
    pub fn is_following(&self) -> bool {
        self.follow.is_some()
    }

    pub fn is_idle(&self) -> bool {
        self.follow.is_none() && self.cancels.is_empty()
    }

    /// Whether one more cancel is too many.
    pub fn is_full(&self) -> bool {
        self.cancels.len() >= MAX_CANCELS
    }

    pub fn chat(&mut self, ask: Ask, request: ChatRequest) {
        let span = ask.span.clone();
        self.follow = Some(ask.chat(request).instrument(span).boxed());
    }

    pub fn resume(&mut self, ask: Ask, turn: TurnId, after: Option<EventId>) {
        let span = ask.span.clone();
        self.follow = Some(ask.resume(turn, after).instrument(span).boxed());
    }

    pub fn cancel(&mut self, ask: Ask, turn: TurnId) {
        let span = ask.span.clone();
        self.cancels.push(ask.cancel(turn).instrument(span).boxed());
    }

    /// The next answer; waits for ever where nothing was asked. Cancel-safe.
    pub async fn next(&mut self) -> Answer {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Answer> {
        if let Some(follow) = &mut self.follow
            && let Poll::Ready(answer) = follow.poll_unpin(context)
        {
            self.follow = None;
            return Poll::Ready(answer);
        }
        match self.cancels.poll_next_unpin(context) {
            Poll::Ready(Some(answer)) => Poll::Ready(answer),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Carries out what was asked for though nobody is there to be answered.
    pub async fn finish(mut self) {
        let rest = async {
            while !self.is_idle() {
                self.next().await;
            }
        };
        // What takes longer has bounds of its own where it runs.
        let _ = timeout(FINISH_TIMEOUT, rest).await;
    }
}

impl Ask {
    async fn chat(self, request: ChatRequest) -> Answer {
        let outcome = self.start(request).await;
        self.answer(outcome)
    }

    async fn start(&self, request: ChatRequest) -> Result<Outcome, Box<Problem>> {
        self.within_limits(CHAT, request.conversation_id.as_ref()).await?;
        let caller = self.caller();
        let started =
            self.services.chat.start(&caller, request).await.map_err(|error| self.refused(error))?;
        let reader = self.services.chat.follow(&caller, started.turn, None).await;
        Ok(Outcome::Follow(reader.map_err(|error| self.refused(error))?))
    }

    async fn resume(self, turn: TurnId, after: Option<EventId>) -> Answer {
        let outcome = self.follow(turn, after).await;
        self.answer(outcome)
    }

    async fn follow(&self, turn: TurnId, after: Option<EventId>) -> Result<Outcome, Box<Problem>> {
        self.within_limits(RESUME, None).await?;
        let reader = self.services.chat.follow(&self.caller(), turn, after).await;
        Ok(Outcome::Follow(reader.map_err(|error| self.refused(error))?))
    }

    async fn cancel(self, turn: TurnId) -> Answer {
        let cancelled = self.services.chat.cancel(&self.caller(), turn).await;
        let outcome = cancelled
            .map(|cancelled| Outcome::Cancelling(turn, cancelled.turn.status))
            .map_err(|error| self.refused(error));
        self.answer(outcome)
    }

    fn answer(self, outcome: Result<Outcome, Box<Problem>>) -> Answer {
        let outcome = outcome.unwrap_or_else(|problem| {
            let code = problem.failure.code;
            if code.status() >= 500 {
                self.span.record("error.type", code.as_str());
            }
            Outcome::Refused(problem)
        });
        // Turns that it began go on within it.
        self.span.record("otel.ended", true);
        Answer { reference: self.reference, request_id: self.identity.request_id, outcome }
    }

    fn caller(&self) -> Caller {
        self.identity.caller(Transport::WebSocket, Some(self.reference.idempotency_key()))
    }

    fn refused(&self, error: ChatError) -> Box<Problem> {
        log_fault(&error, &self.identity.request_id);
        Box::new(error.into())
    }

    async fn within_limits(
        &self,
        operation: &str,
        conversation: Option<&ConversationId>,
    ) -> Result<(), Box<Problem>> {
        let subject = self.identity.subject(conversation);
        match self.services.limits.decide(operation, &subject).await {
            Some(verdict) if !verdict.is_allowed() => Err(rate_limited(&verdict)),
            Some(_) | None => Ok(()),
        }
    }
}

/// A frame that asks for something, as a request of its own: linked to the one that became the socket, because a child of
/// that might begin an hour after its end.
pub(super) fn span(frame: &ClientFrame, request_id: &RequestId, upgrade: Option<&TraceContext>) -> Span {
    if matches!(frame, ClientFrame::Auth(..) | ClientFrame::Ping(_)) {
        return Span::none();
    }
    info_span!(
        "message",
        otel.name = "message /api/v1/chat/ws",
        otel.kind = "server",
        otel.link = upgrade.map(TraceContext::whole),
        otel.ended = Empty,
        http.route = super::PATH,
        polylogue.frame.type = frame.label().as_label(),
        polylogue.request.id = %request_id,
        error.type = Empty,
        %request_id,
    )
}

/// How the subject stands with what a `chat` frame is asked.
pub(super) async fn standings(services: &Services, identity: &Identity) -> Vec<Standing> {
    services.limits.standing(CHAT, &identity.subject(None)).await
}

/// Writes down what is our fault, where it stops; the client is told no more than its code.
pub(super) fn log_fault(error: &ChatError, request_id: &RequestId) {
    let failure = error.failure();
    if failure.code.status() >= 500 {
        let error: &dyn std::error::Error = error;
        tracing::warn!(event = "request_failed", %request_id, code = failure.code.as_str(), error, "a frame could not be served");
    }
}

pub(super) fn rate_limited(verdict: &Verdict) -> Box<Problem> {
    let refusing = || verdict.standings.iter().filter(|standing| standing.retry_after.is_some());
    let wait = refusing().filter_map(|standing| standing.retry_after).max().unwrap_or_default();
    let detail =
        refusing().max_by_key(|standing| standing.retry_after).map_or_else(String::new, |standing| {
            let (quota, window) = (standing.policy.quota, standing.policy.window.as_secs());
            format!("The limit is {quota} requests per {window} s.")
        });
    let mut problem = Problem::from(Failure::new(ErrorCode::RateLimited, detail).retry_after(wait));
    problem.violated_policies = refusing().map(|standing| standing.policy.name.to_string()).collect();
    Box::new(problem)
}
