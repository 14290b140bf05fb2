//! One attempt at one upstream, from the moment it is admitted: whatever its end is, metrics and breaker learn it once.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::Instant;
use tracing::Span;

use super::{Chunk, ChunkStream, Ending, LlmError};
use crate::resilience::Permit;
use crate::telemetry::metrics::{Label as _, Metrics, ModelCause, ModelOutcome, Name, TokenType};

/// What an attempt is counted under.
#[derive(Clone)]
pub(super) struct Labels {
    pub(super) upstream: Name,
    pub(super) model: Name,
    pub(super) cause: ModelCause,
}

/// A running attempt. Dropped without an end, it was cancelled by us, which is nobody's fault.
pub(super) struct Call {
    metrics: Arc<Metrics>,
    labels: Labels,
    permit: Option<Permit>,
    span: Span,
    attempt: Span,
    deadline: Instant,
    asked: Instant,
    last_text: Option<Instant>,
}

impl Call {
    /// Begins within the current span, which stays open until the end, as does that of the attempt.
    pub(super) fn begin(
        metrics: Arc<Metrics>,
        labels: Labels,
        permit: Permit,
        attempt: Span,
        deadline: Instant,
    ) -> Self {
        metrics.model.in_flight.add(&(labels.upstream.clone(),), 1);
        let (asked, span) = (Instant::now(), Span::current());
        Self { metrics, labels, permit: Some(permit), span, attempt, deadline, asked, last_text: None }
    }

    /// A piece of text came, at `now`.
    fn text(&mut self, now: Instant) {
        let labels = (self.labels.upstream.clone(), self.labels.model.clone());
        match self.last_text.replace(now) {
            None => self.metrics.model.first_token.observe(&labels, now - self.asked),
            Some(before) => self.metrics.model.chunk.observe(&labels, now - before),
        }
    }

    /// The answer is whole.
    pub(super) fn succeeded(mut self, ending: &Ending) {
        let tokens = |of, count: Option<u64>| {
            let labels = (self.labels.model.clone(), of);
            count.into_iter().for_each(|count| self.metrics.model.tokens.add(&labels, count));
        };
        let usage = ending.usage.unwrap_or_default();
        tokens(TokenType::Input, usage.input_tokens);
        tokens(TokenType::Output, usage.output_tokens);
        self.span.record("gen_ai.response.model", ending.model.as_deref());
        self.span.record("gen_ai.response.id", ending.response_id.as_deref());
        self.span.record("gen_ai.response.finish_reasons", ending.finish_reason.as_str());
        self.span.record("gen_ai.usage.input_tokens", usage.input_tokens);
        self.span.record("gen_ai.usage.output_tokens", usage.output_tokens);
        if let Some(permit) = self.permit.take() {
            permit.success();
        }
        self.ended(ModelOutcome::Ok);
    }

    /// There will be no whole answer. What the caller's own deadline cut off says nothing about the upstream: routing
    /// gives a model 1.5 s, and one that takes 2 is healthy.
    pub(super) fn failed(mut self, error: &LlmError) {
        let out_of_time = matches!(error, LlmError::Slow(_)) && Instant::now() >= self.deadline;
        self.attempt.record("error.type", ModelOutcome::from(error).as_label());
        if let Some(permit) = self.permit.take() {
            // What the breaker decides by it belongs to the call.
            self.span.in_scope(|| match error.is_fault() && !out_of_time {
                true => permit.failure(),
                false => permit.ignored(),
            });
        }
        self.ended(error.into());
    }

    fn ended(&mut self, outcome: ModelOutcome) {
        let Labels { upstream, model, cause } = self.labels.clone();
        self.metrics.model.requests.inc(&(upstream.clone(), model.clone(), outcome, cause));
        self.metrics.model.duration.observe(&(upstream, model, outcome), self.asked.elapsed());
    }

    /// Follows `chunks`, of which the first has come, to their end, which is then the end of this attempt.
    pub(super) fn follow(self, chunks: ChunkStream) -> ChunkStream {
        // The first was there before anybody asks for it here.
        let first_came = Some(Instant::now());
        stream::unfold(Some((chunks, self, first_came)), |following| async {
            let (mut chunks, mut call, first_came) = following?;
            let chunk = chunks.next().await.unwrap_or(Err(LlmError::Cut));
            let following = match &chunk {
                Ok(Chunk::Text(_)) => {
                    call.text(first_came.unwrap_or_else(Instant::now));
                    Some((chunks, call, None))
                }
                Ok(Chunk::End(ending)) => {
                    call.succeeded(ending);
                    None
                }
                Err(error) => {
                    call.span.record("error.type", ModelOutcome::from(error).as_label());
                    call.failed(error);
                    None
                }
            };
            Some((chunk, following))
        })
        .boxed()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.metrics.model.in_flight.add(&(self.labels.upstream.clone(),), -1);
        if self.permit.take().is_some() {
            self.ended(ModelOutcome::Cancelled);
        }
    }
}
