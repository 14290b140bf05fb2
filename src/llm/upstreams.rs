//! All upstreams as one model: attempts in their order, one retry policy for a whole call, a breaker around each.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tracing::{Instrument as _, Span, field, info, info_span};

use super::call::{Call, Labels};
use super::{Answer, ChatModel, ChunkStream, LlmError, ModelRequest};
use crate::config;
use crate::resilience::{Breaker, Permit, RetryPolicy, Snapshot};
use crate::telemetry::metrics::{Label as _, Metrics, ModelCause, ModelOutcome, Name, TokenType};

/// What an unnamed or unconfigured model is counted as: label values are known at the start.
const OTHER: &str = "other";

/// One place to ask.
pub struct Upstream {
    /// Its name in the configuration, in metrics and in `/status`.
    pub name: String,
    /// The model it answers with when a request names none.
    pub default_model: Option<String>,
    /// How it is asked, in one attempt per call.
    pub chat: Arc<dyn ChatModel>,
}

struct Place {
    upstream: Upstream,
    label: Name,
    breaker: Breaker,
}

/// All upstreams, in order.
///
/// Each attempt goes to the first upstream whose circuit lets it through, which was not asked already in this round and
/// does not want to be left alone (`Retry-After`). A failed attempt is followed at once by one at the next such upstream;
/// when there is none, by a wait of the retry policy and a new round. All of it is bounded by the attempts of the policy
/// and the request's deadline, and only happens before the first token.
pub struct Upstreams {
    places: Vec<Place>,
    retry: RetryPolicy,
    models: HashMap<String, Name>,
    metrics: Arc<Metrics>,
}

/// What one call knows of the places it has asked.
#[derive(Clone, Copy, Default)]
struct Asked {
    in_this_round: bool,
    not_before: Option<Instant>,
}

impl Upstreams {
    /// Asks `upstreams` in their order. `models` are the names that requests may bring and metrics may show, beside the
    /// upstreams' own.
    pub fn new(
        upstreams: Vec<Upstream>,
        models: impl IntoIterator<Item = String>,
        settings: &config::Llm,
        metrics: Arc<Metrics>,
    ) -> Self {
        let own = upstreams.iter().filter_map(|upstream| upstream.default_model.clone());
        let models: HashMap<String, Name> =
            own.chain(models).map(|model| (model.clone(), Name::from(model.as_str()))).collect();
        let place = |upstream: Upstream| {
            let label = Name::from(upstream.name.as_str());
            touch(&metrics, &label, upstream.default_model.as_deref());
            let breaker = Breaker::new(&upstream.name, settings.breaker, metrics.clone());
            Place { upstream, label, breaker }
        };
        let places = upstreams.into_iter().map(place).collect();
        Self { places, retry: RetryPolicy::new(settings.retry), models, metrics }
    }

    /// Every upstream's circuit, in order, for `/status`.
    pub fn snapshot(&self) -> Vec<Snapshot> {
        self.places.iter().map(|place| place.breaker.snapshot()).collect()
    }

    /// Asks until one attempt is answered, or no further one makes sense.
    async fn attempts<T, A>(
        &self,
        request: &ModelRequest,
        ask: impl Fn(Arc<dyn ChatModel>, ModelRequest) -> A,
    ) -> Result<(T, Call), LlmError>
    where
        A: Future<Output = Result<T, LlmError>>,
    {
        let mut asked = vec![Asked::default(); self.places.len()];
        let mut admitted = self.admit(&asked).ok_or_else(|| self.all_open(request))?;
        let (mut cause, mut attempt) = (request.cause, 1);
        loop {
            let (at, permit) = admitted;
            let (place, labels) = (&self.places[at], self.labels(at, request, cause));
            let span = place.span(attempt, cause);
            let call = Call::begin(self.metrics.clone(), labels, permit, span.clone(), request.deadline);
            let asking = ask(place.upstream.chat.clone(), request.clone());
            let error = match asking.instrument(span).await {
                Ok(answered) => return Ok((answered, call)),
                Err(error) => error,
            };
            call.failed(&error);
            let not_before = error.retry_after().map(|wait| Instant::now() + wait);
            asked[at] = Asked { in_this_round: true, not_before };
            let Some(next) = self.next(&mut asked, attempt, &error, request.deadline).await else {
                return Err(error);
            };
            let reason = ModelOutcome::from(&error);
            self.metrics.model.retries.inc(&(reason,));
            let (upstream, reason) = (place.upstream.name.as_str(), reason.as_label());
            info!(
                event = "model_retried",
                upstream, attempt, reason, "an attempt failed and another follows"
            );
            admitted = next;
            cause = ModelCause::Retry;
            attempt += 1;
        }
    }

    /// Where to go after attempt number `ended`, once it is time.
    async fn next(
        &self,
        asked: &mut [Asked],
        ended: u32,
        error: &LlmError,
        deadline: Instant,
    ) -> Option<(usize, Permit)> {
        let left = deadline.saturating_duration_since(Instant::now());
        if !error.is_worth_another_attempt() || ended >= self.retry.attempts() || left.is_zero() {
            return None;
        }
        if let Some(elsewhere) = self.admit(asked) {
            return Some(elsewhere);
        }
        let wait = self.retry.wait(ended, self.shortest_hold(asked), left, rand::random())?;
        tokio::time::sleep(wait).await;
        asked.iter_mut().for_each(|asked| asked.in_this_round = false);
        self.admit(asked)
    }

    /// The first place that lets a call through.
    fn admit(&self, asked: &[Asked]) -> Option<(usize, Permit)> {
        let now = Instant::now();
        let free =
            |asked: &Asked| !asked.in_this_round && asked.not_before.is_none_or(|moment| moment <= now);
        let mut free = (0..self.places.len()).filter(|at| free(&asked[*at]));
        free.find_map(|at| Some((at, self.places[at].breaker.admit().ok()?)))
    }

    /// How long the first of the places with a closed circuit wants to be left alone; so long that nobody waits, when
    /// all are open.
    fn shortest_hold(&self, asked: &[Asked]) -> Option<Duration> {
        let now = Instant::now();
        let hold = |asked: &Asked| asked.not_before.map(|moment| moment.saturating_duration_since(now));
        let open = |place: &Place| place.breaker.wait();
        let places = self.places.iter().zip(asked);
        places.map(|(place, asked)| open(place).max(hold(asked)).unwrap_or_default()).min()
    }

    fn all_open(&self, request: &ModelRequest) -> LlmError {
        if !self.places.is_empty() {
            let Labels { upstream, model, cause } = self.labels(0, request, request.cause);
            self.metrics.model.requests.inc(&(upstream, model, ModelOutcome::Open, cause));
        }
        let waits = self.places.iter().map(|place| place.breaker.wait().unwrap_or_default());
        LlmError::Open { retry_after: waits.min().unwrap_or_default() }
    }

    /// One call with all its attempts, in the words of OpenTelemetry's GenAI conventions. Its server is the one asked first.
    fn span(&self, request: &ModelRequest, is_stream: bool) -> Span {
        let first = self.places.first().map(|place| &place.upstream);
        let model = request.model.as_deref().or_else(|| first?.default_model.as_deref()).unwrap_or_default();
        let (address, port) = first.and_then(|first| first.chat.server()).unzip();
        info_span!(
            "model_call",
            otel.name = %format_args!("chat {model}"),
            otel.kind = "client",
            gen_ai.operation.name = "chat",
            gen_ai.provider.name = "openai",
            gen_ai.request.model = model,
            gen_ai.request.stream = is_stream,
            gen_ai.request.max_tokens = request.max_tokens,
            gen_ai.request.temperature = request.temperature.map(as_written),
            gen_ai.response.model = field::Empty,
            gen_ai.response.id = field::Empty,
            gen_ai.response.finish_reasons = field::Empty,
            gen_ai.usage.input_tokens = field::Empty,
            gen_ai.usage.output_tokens = field::Empty,
            server.address = address,
            server.port = port,
            error.type = field::Empty,
        )
    }

    fn labels(&self, at: usize, request: &ModelRequest, cause: ModelCause) -> Labels {
        let place = &self.places[at];
        let model = request.model.as_ref().or(place.upstream.default_model.as_ref());
        let known = model.and_then(|model| self.models.get(model)).cloned();
        Labels { upstream: place.label.clone(), model: known.unwrap_or_else(|| OTHER.into()), cause }
    }
}

/// Lets an upstream's series begin at zero, so that a first failure is seen as an increase.
fn touch(metrics: &Metrics, upstream: &Name, model: Option<&str>) {
    metrics.model.in_flight.touch(&(upstream.clone(),));
    let model = Name::from(model.unwrap_or(OTHER));
    for cause in [ModelCause::First, ModelCause::Retry] {
        for &outcome in ModelOutcome::ALL {
            metrics.model.requests.touch(&(upstream.clone(), model.clone(), outcome, cause));
        }
    }
    TokenType::ALL.iter().for_each(|kind| metrics.model.tokens.touch(&(model.clone(), *kind)));
}

impl Place {
    /// One attempt here, in the words of OpenTelemetry's HTTP conventions.
    fn span(&self, attempt: u32, cause: ModelCause) -> Span {
        let (address, port) = self.upstream.chat.server().unzip();
        info_span!(
            "attempt",
            otel.name = "POST",
            otel.kind = "client",
            http.request.method = "POST",
            http.request.resend_count = (attempt > 1).then_some(attempt - 1),
            http.response.status_code = field::Empty,
            server.address = address,
            server.port = port,
            polylogue.upstream = self.upstream.name,
            polylogue.upstream.cause = cause.as_label(),
            error.type = field::Empty,
        )
    }
}

/// A setting such as 0.3, which as a wider number would be 0.30000001192.
fn as_written(setting: f32) -> f64 {
    (f64::from(setting) * 1e4).round() / 1e4
}

fn failed(error: &LlmError) {
    Span::current().record("error.type", ModelOutcome::from(error).as_label());
}

#[async_trait]
impl ChatModel for Upstreams {
    async fn stream(&self, request: ModelRequest) -> Result<ChunkStream, LlmError> {
        let span = self.span(&request, true);
        let ask = |chat: Arc<dyn ChatModel>, request| async move { chat.stream(request).await };
        let asking = async { self.attempts(&request, ask).await.inspect_err(failed) };
        let (chunks, call) = asking.instrument(span).await?;
        Ok(call.follow(chunks))
    }

    async fn complete(&self, request: ModelRequest) -> Result<Answer, LlmError> {
        let span = self.span(&request, false);
        let ask = |chat: Arc<dyn ChatModel>, request| async move { chat.complete(request).await };
        let asking = async { self.attempts(&request, ask).await.inspect_err(failed) };
        let (answer, call) = asking.instrument(span).await?;
        call.succeeded(&answer.ending);
        Ok(answer)
    }
}
