//! A span while it is open, and what is left of it when it has ended.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tracing::field::{Field, Visit};

use super::{TraceContext, names};

/// Events of one span; what a decision-happy request has beyond that is in the log.
const MAX_EVENTS: usize = 64;

/// The longest text of an attribute, in characters.
const MAX_TEXT: usize = 256;

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
}

pub(super) type Attributes = Vec<(Cow<'static, str>, Value)>;

/// What a span is to those it talks with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Internal,
    Server,
    Client,
}

/// Something that happened within a span.
#[derive(Debug)]
pub(super) struct Happened {
    pub name: String,
    pub at: SystemTime,
    pub attributes: Attributes,
}

/// A span that has ended.
#[derive(Debug)]
pub(super) struct Finished {
    pub context: TraceContext,
    pub parent: Option<u64>,
    pub name: String,
    pub kind: Kind,
    pub began: SystemTime,
    pub took: Duration,
    pub links: Vec<TraceContext>,
    pub attributes: Attributes,
    pub events: Vec<Happened>,
    /// Events that there was no room for.
    pub more_events: u32,
    pub has_failed: bool,
}

/// What is known of a span before it ends.
#[derive(Debug)]
pub(super) struct Recording {
    pub parent: Option<u64>,
    pub name: String,
    pub kind: Kind,
    pub links: Vec<TraceContext>,
    attributes: Attributes,
    events: Vec<Happened>,
    more_events: u32,
    began: SystemTime,
    since: Instant,
    took: Option<Duration>,
}

impl Recording {
    /// Begins now, or where the span was found worth it only afterwards, as long ago as it took.
    pub fn begin(said: Said, parent: Option<u64>, follows: Option<TraceContext>) -> Self {
        let now = SystemTime::now();
        let links = said.link.into_iter().chain(follows).collect();
        Self {
            parent,
            name: said.name,
            kind: said.kind,
            links,
            attributes: said.attributes,
            events: Vec::new(),
            more_events: 0,
            began: said.took.and_then(|took| now.checked_sub(took)).unwrap_or(now),
            since: Instant::now(),
            took: said.took,
        }
    }

    /// Takes in what became known later; a value that was known is replaced.
    pub fn learn(&mut self, attributes: Attributes) {
        for (name, value) in attributes {
            match self.attributes.iter_mut().find(|(known, _)| *known == name) {
                Some(known) => known.1 = value,
                None => self.attributes.push((name, value)),
            }
        }
    }

    pub fn happened(&mut self, name: String, attributes: Attributes) {
        if self.events.len() < MAX_EVENTS {
            self.events.push(Happened { name, at: SystemTime::now(), attributes });
        } else {
            self.more_events += 1;
        }
    }

    pub fn has_failed(&self) -> bool {
        self.attributes.iter().any(|(name, _)| name == names::ERROR_TYPE)
    }

    pub fn end(self, context: TraceContext) -> Finished {
        Finished {
            context,
            has_failed: self.has_failed(),
            parent: self.parent,
            name: self.name,
            kind: self.kind,
            began: self.began,
            took: self.took.unwrap_or_else(|| self.since.elapsed()),
            links: self.links,
            attributes: self.attributes,
            events: self.events,
            more_events: self.more_events,
        }
    }
}

/// Where a span comes from: what decides whether anybody will be told of it.
#[derive(Debug, Default)]
pub(super) struct Origin {
    /// The span it is a child of, where that is not the one around it.
    pub parent: Option<TraceContext>,
    /// A span it goes on from, in a trace of its own that is kept if the other is.
    pub follows: Option<TraceContext>,
    /// Whether it is told of when it fails, though its trace is not kept.
    pub is_summary: bool,
}

impl Visit for Origin {
    fn record_str(&mut self, field: &Field, text: &str) {
        match field.name() {
            "otel.parent" => self.parent = text.parse().ok(),
            "otel.follows" => self.follows = text.parse().ok(),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if matches!(field.name(), "otel.parent" | "otel.follows") {
            self.record_str(field, &format!("{value:?}"));
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.is_summary |= field.name() == "otel.summary" && value;
    }
}

/// What the fields of a span say, at its beginning or later. Fields in `otel.` are about the span itself; of the others
/// only those on the list are taken in.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub name: String,
    pub kind: Kind,
    /// A span it has to do with.
    pub link: Option<TraceContext>,
    /// How long it took, if that is over.
    pub took: Option<Duration>,
    pub has_ended: bool,
    pub attributes: Attributes,
}

impl Said {
    fn attribute(&mut self, field: &Field, value: Value) {
        if names::is_attribute(field.name()) {
            self.attributes.push((field.name().into(), value));
        }
    }

    fn about_itself(&mut self, name: &str, text: &str) {
        match name {
            "otel.name" => self.name = shortened(text),
            "otel.kind" => {
                self.kind = match text {
                    "server" => Kind::Server,
                    "client" => Kind::Client,
                    _ => Kind::Internal,
                }
            }
            "otel.link" => self.link = text.parse().ok(),
            "otel.baggage" => {
                let entries = text.lines().filter_map(|line| line.split_once('='));
                let attribute =
                    |(name, value)| (format!("baggage.{name}").into(), Value::Text(shortened(value)));
                self.attributes.extend(entries.map(attribute));
            }
            _ => {}
        }
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, text: &str) {
        match field.name() {
            name if name.starts_with("otel.") => self.about_itself(name, text),
            _ => self.attribute(field, Value::Text(shortened(text))),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name().starts_with("otel.") || names::is_attribute(field.name()) {
            self.record_str(field, &format!("{value:?}"));
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "otel.took_us" => self.took = Some(Duration::from_micros(value)),
            _ => self.attribute(field, Value::Int(i64::try_from(value).unwrap_or(i64::MAX))),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.attribute(field, Value::Int(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.attribute(field, Value::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        match field.name() {
            "otel.ended" => self.has_ended = value,
            _ => self.attribute(field, Value::Bool(value)),
        }
    }
}

/// What an event says that a span may show.
#[derive(Debug, Default)]
pub(super) struct Decision {
    pub name: String,
    pub attributes: Attributes,
}

impl Decision {
    fn attribute(&mut self, field: &Field, value: Value) {
        if names::is_event_attribute(field.name()) {
            self.attributes.push((field.name().into(), value));
        }
    }
}

impl Visit for Decision {
    fn record_str(&mut self, field: &Field, text: &str) {
        match field.name() {
            "event" => self.name = text.to_owned(),
            _ => self.attribute(field, Value::Text(shortened(text))),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if names::is_event_attribute(field.name()) {
            self.record_str(field, &format!("{value:?}"));
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.attribute(field, Value::Int(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.attribute(field, Value::Int(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.attribute(field, Value::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.attribute(field, Value::Bool(value));
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
