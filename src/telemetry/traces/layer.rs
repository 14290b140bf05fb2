//! From `tracing`'s spans to those that are sent.
//!
//! A span with a field `otel.name` is one of a trace; any other only groups log lines, and what is within it belongs to
//! the next one outside. What a span is to its trace it says itself, in fields that begin with `otel.`:
//!
//! | field | says |
//! |---|---|
//! | `otel.name`, `otel.kind` | its name; `server` or `client` |
//! | `otel.parent` | the span it is a child of, where that is not the one around it ([`TraceContext::whole`]) |
//! | `otel.link` | a span it has to do with |
//! | `otel.follows` | a span of another trace that it goes on from; kept if that trace is |
//! | `otel.took_us` | how long it took: it was found worth a span only afterwards |
//! | `otel.summary` | true: it is told of when it fails, also when its trace is not kept |
//! | `otel.ended` | true, recorded: it has ended, though spans within it go on |
//! | `otel.baggage` | lines `name=value` that become attributes |

use std::sync::Arc;

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Span, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::{LookupSpan, Registry, SpanRef};

use super::queue::Queue;
use super::sampler::Sampler;
use super::span::{Decision, Origin, Recording, Said, Value};
use super::{TraceContext, names};
use crate::telemetry::lines::tells;

/// Where an open span is in its trace, and what is known of it if somebody will be told.
pub(in crate::telemetry) struct Open {
    pub(in crate::telemetry) context: TraceContext,
    recording: Option<Box<Recording>>,
}

/// Notes spans; without a queue only where they are.
#[derive(Clone, Debug)]
pub(in crate::telemetry) struct Spans {
    sampler: Sampler,
    queue: Option<Arc<Queue>>,
    events: bool,
}

impl Spans {
    pub(super) fn new(sampler: Sampler, queue: Option<Arc<Queue>>, events: bool) -> Self {
        Self { sampler, queue, events }
    }

    /// Whether a span or event is any of this layer's business.
    pub fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let fields = metadata.fields();
        let is_ours = metadata.target().starts_with("polylogue") && *metadata.level() <= Level::INFO;
        let is_told = self.queue.is_some();
        is_ours
            && match metadata.is_span() {
                // Nobody is told of spans: all that is asked of them is where a trace begins, and none of ours begins elsewhere.
                true => fields.field("otel.name").is_some() && (is_told || tells(metadata)),
                false => self.events && is_told && fields.field("event").is_some(),
            }
    }

    /// The place of a new span below `local`, the one around it.
    fn place(&self, origin: &Origin, local: Option<TraceContext>) -> (TraceContext, Option<u64>) {
        let keeps = |trace, parent: Option<&TraceContext>| self.sampler.keeps(trace, parent);
        let far = origin.parent.as_ref();
        match (far.or(local.as_ref()), &self.queue) {
            // Nobody will hear of this span, so that what follows belongs to the one above it.
            (Some(parent), None) => (parent.clone(), None),
            (Some(parent), Some(_)) => {
                let is_kept = if far.is_some() { keeps(parent.trace, far) } else { parent.is_sampled };
                (parent.child(is_kept), Some(parent.span))
            }
            (None, None) => (TraceContext::root(|_| false), None),
            (None, Some(_)) => (TraceContext::root(|trace| keeps(trace, origin.follows.as_ref())), None),
        }
    }

    /// What a span is about is read only if somebody will be told: that is most of what a span costs.
    fn begin(&self, attributes: &Attributes<'_>, local: Option<TraceContext>) -> Open {
        let mut origin = Origin::default();
        attributes.record(&mut origin);
        let (context, parent) = self.place(&origin, local);
        let is_told = self.queue.is_some() && (context.is_sampled || origin.is_summary);
        let recording = is_told.then(|| {
            let mut said = Said::default();
            attributes.record(&mut said);
            Box::new(Recording::begin(said, parent, origin.follows))
        });
        Open { context, recording }
    }

    fn end(&self, context: TraceContext, mut recording: Recording) {
        let Some(queue) = &self.queue else { return };
        if !context.is_sampled {
            if !recording.has_failed() {
                return;
            }
            recording.learn(vec![(names::SAMPLED_LATE.into(), Value::Bool(true))]);
        }
        queue.push(recording.end(context));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let local = span.parent().and_then(|above| context_of(&above));
        span.extensions_mut().replace(self.begin(attributes, local));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut said = Said::default();
        let ended = {
            let mut extensions = span.extensions_mut();
            let Some(open) = extensions.get_mut::<Open>() else { return };
            let Some(recording) = &mut open.recording else { return };
            values.record(&mut said);
            recording.learn(said.attributes);
            if said.has_ended { open.recording.take().map(|it| (open.context.clone(), it)) } else { None }
        };
        if let Some((context, recording)) = ended {
            self.end(context, *recording);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(span) = context.event_span(event) else { return };
        let mut extensions = span.extensions_mut();
        let Some(recording) = extensions.get_mut::<Open>().and_then(|open| open.recording.as_mut()) else {
            return;
        };
        let mut decision = Decision::default();
        event.record(&mut decision);
        if names::is_decision(&decision.name) {
            recording.happened(decision.name, decision.attributes);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let open = span.extensions_mut().remove::<Open>();
        if let Some(Open { context, recording: Some(recording) }) = open {
            self.end(context, *recording);
        }
    }
}

fn context_of<'a, R: LookupSpan<'a>>(span: &SpanRef<'a, R>) -> Option<TraceContext> {
    span.extensions().get::<Open>().map(|open| open.context.clone())
}

/// Where the current span is in its trace; none outside of any.
pub fn current() -> Option<TraceContext> {
    Span::current().with_subscriber(|(id, subscriber)| {
        let registry = subscriber.downcast_ref::<Registry>()?;
        registry.span(id)?.scope().find_map(|span| context_of(&span))
    })?
}
