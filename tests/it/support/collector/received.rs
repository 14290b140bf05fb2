use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{self as otlp, span::SpanKind};
use serde_json::{Value, json};

pub type Attributes = BTreeMap<String, Value>;

/// A span as the collector got it.
#[derive(Clone, Debug)]
pub struct Span {
    pub trace: String,
    pub id: String,
    /// Empty for a root.
    pub parent: String,
    pub state: String,
    pub name: String,
    pub kind: &'static str,
    pub start: u64,
    pub end: u64,
    pub attributes: Attributes,
    pub events: Vec<(String, Attributes)>,
    /// Trace and span.
    pub links: Vec<(String, String)>,
    pub has_failed: bool,
    pub resource: Attributes,
    pub schema: String,
}

impl Span {
    /// An attribute; null if it is not there.
    pub fn get(&self, name: &str) -> &Value {
        self.attributes.get(name).unwrap_or(&Value::Null)
    }

    /// The names of its events.
    pub fn event_names(&self) -> Vec<&str> {
        self.events.iter().map(|(name, _)| name.as_str()).collect()
    }
}

/// The spans of a batch.
pub fn spans(batch: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for group in batch.resource_spans {
        let resource = attributes(group.resource.unwrap().attributes);
        for scope in group.scope_spans {
            let known = scope.scope.unwrap();
            assert_eq!((known.name.as_str(), known.version.is_empty()), ("polylogue", false));
            spans.extend(scope.spans.into_iter().map(|it| span(it, &resource, &scope.schema_url)));
        }
    }
    spans
}

fn span(span: otlp::Span, resource: &Attributes, schema: &str) -> Span {
    assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
    assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    Span {
        kind: match span.kind() {
            SpanKind::Server => "SERVER",
            SpanKind::Client => "CLIENT",
            SpanKind::Internal => "INTERNAL",
            other @ (SpanKind::Unspecified | SpanKind::Producer | SpanKind::Consumer) => panic!("{other:?}"),
        },
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        state: span.trace_state,
        name: span.name,
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        attributes: attributes(span.attributes),
        events: span.events.into_iter().map(|event| (event.name, attributes(event.attributes))).collect(),
        links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
        has_failed: span.status.is_some_and(|status| status.code == otlp::status::StatusCode::Error as i32),
        resource: resource.clone(),
        schema: schema.to_owned(),
    }
}

fn attributes(pairs: Vec<KeyValue>) -> Attributes {
    let count = pairs.len();
    let attributes: Attributes = pairs.into_iter().map(|pair| (pair.key, value(pair.value))).collect();
    assert_eq!(attributes.len(), count, "an attribute is there twice: {attributes:?}");
    attributes
}

fn value(any: Option<AnyValue>) -> Value {
    match any.and_then(|any| any.value).unwrap() {
        Any::StringValue(text) => text.into(),
        Any::IntValue(number) => number.into(),
        Any::DoubleValue(number) => json!(number),
        Any::BoolValue(truth) => truth.into(),
        Any::ArrayValue(list) => list.values.into_iter().map(|it| value(Some(it))).collect(),
        other @ (Any::KvlistValue(_) | Any::BytesValue(_) | Any::StringValueStrindex(_)) => {
            panic!("{other:?}")
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
