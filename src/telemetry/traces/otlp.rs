//! Spans in the words of OTLP (<https://opentelemetry.io/docs/specs/otlp/>).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

use super::names;
use super::span::{Attributes, Finished, Happened, Kind, Value};
use crate::config::Tracing;

/// What describes this process: the operator's words win over ours, and the name that was given alone over all.
pub(super) fn resource(settings: &Tracing, replica: &str) -> Resource {
    let mut pairs = vec![
        ("service.name".to_owned(), "polylogue".to_owned()),
        ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id".to_owned(), replica.to_owned()),
    ];
    let given = settings.resource_pairs().unwrap_or_default();
    let name = settings.service_name.iter().map(|name| ("service.name".to_owned(), name.clone()));
    for (name, value) in given.into_iter().chain(name) {
        pairs.retain(|(known, _)| *known != name);
        pairs.push((name, value));
    }
    let attributes = pairs.into_iter().map(|(name, value)| pair(name, text(value))).collect();
    Resource { attributes, ..Resource::default() }
}

/// One batch as it is sent.
pub(super) fn request(resource: &Resource, spans: Vec<Finished>) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope {
        name: names::SCOPE.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    };
    let scope_spans = ScopeSpans {
        scope: Some(scope),
        spans: spans.into_iter().map(span).collect(),
        schema_url: names::SCHEMA_URL.into(),
    };
    let resource_spans = ResourceSpans {
        resource: Some(resource.clone()),
        scope_spans: vec![scope_spans],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }
}

fn span(finished: Finished) -> Span {
    let Finished { context, began, took, .. } = finished;
    let kind = match finished.kind {
        Kind::Internal => SpanKind::Internal,
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
    };
    let status = Status { code: StatusCode::Error.into(), ..Status::default() };
    Span {
        trace_id: context.trace.to_be_bytes().to_vec(),
        span_id: context.span.to_be_bytes().to_vec(),
        parent_span_id: finished.parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
        trace_state: context.state.as_deref().unwrap_or_default().to_owned(),
        flags: u32::from(context.is_sampled),
        name: finished.name,
        kind: kind.into(),
        start_time_unix_nano: nanoseconds(began, Duration::ZERO),
        end_time_unix_nano: nanoseconds(began, took),
        attributes: pairs(finished.attributes),
        events: finished.events.into_iter().map(event).collect(),
        dropped_events_count: finished.more_events,
        links: finished.links.into_iter().map(link).collect(),
        status: finished.has_failed.then_some(status),
        ..Span::default()
    }
}

fn event(happened: Happened) -> Event {
    Event {
        time_unix_nano: nanoseconds(happened.at, Duration::ZERO),
        name: happened.name,
        attributes: pairs(happened.attributes),
        ..Event::default()
    }
}

fn link(to: super::TraceContext) -> Link {
    Link {
        trace_id: to.trace.to_be_bytes().to_vec(),
        span_id: to.span.to_be_bytes().to_vec(),
        trace_state: to.state.as_deref().unwrap_or_default().to_owned(),
        flags: u32::from(to.is_sampled),
        ..Link::default()
    }
}

fn nanoseconds(at: SystemTime, later: Duration) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default() + later;
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn pairs(attributes: Attributes) -> Vec<KeyValue> {
    attributes.into_iter().map(|(name, value)| attribute(name.into_owned(), value)).collect()
}

fn attribute(name: String, value: Value) -> KeyValue {
    let is_list = names::is_list(&name);
    let value = match value {
        Value::Text(it) => text(it),
        Value::Int(it) => any_value::Value::IntValue(it),
        Value::Float(it) => any_value::Value::DoubleValue(it),
        Value::Bool(it) => any_value::Value::BoolValue(it),
    };
    let value = match is_list {
        true => any_value::Value::ArrayValue(ArrayValue { values: vec![AnyValue { value: Some(value) }] }),
        false => value,
    };
    pair(name, value)
}

fn text(text: String) -> any_value::Value {
    any_value::Value::StringValue(text)
}

fn pair(key: String, value: any_value::Value) -> KeyValue {
    KeyValue { key, value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
