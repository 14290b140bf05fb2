//! Log lines as JSON, one object per line (`observability.md`, "Logs").

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::Chain;
use super::output::Output;
use super::traces::{Open, TraceContext};

/// What a line takes over from the spans around it: who and what it is about.
const FROM_SPANS: [&str; 5] = ["request_id", "turn_id", "conversation_id", "connection_id", "client"];

/// What every line says by itself; a field of that name gets an underscore.
const OURS: [&str; 7] = ["time", "level", "service", "version", "replica", "trace_id", "span_id"];

/// The longest text of one field, in bytes: a line is for reading, and collectors cut lines at 16 KiB or more.
const MAX_TEXT: usize = 4096;

/// Bytes that most lines need.
const LINE: usize = 640;

/// Writes each event as a line.
pub(super) struct Lines {
    replica: String,
    output: Output,
}

impl Lines {
    /// Lines of this replica.
    pub fn new(replica: &str, output: Output) -> Self {
        Self { replica: replica.to_owned(), output }
    }

    /// The members in the catalogue's order, then everything else the event holds.
    fn line(
        &self,
        metadata: &Metadata<'_>,
        place: Option<TraceContext>,
        about: &About,
        mut event: Fields,
    ) -> Vec<u8> {
        let mut line = Line::default();
        line.member("time", &now());
        line.member("level", level(metadata));
        line.member("event", &event.take("event").unwrap_or_else(|| "log".into()));
        line.member("message", &event.take("message").unwrap_or_default());
        line.member("service", "polylogue");
        line.member("version", env!("CARGO_PKG_VERSION"));
        line.member("replica", &self.replica);
        if let Some(place) = place {
            line.member("trace_id", &place.trace_id());
            line.member("span_id", &place.span_id());
        }
        for name in FROM_SPANS {
            if let Some(value) = event.take(name) {
                line.member(name, &value);
            } else if let Some(text) = about.get(name) {
                line.member(name, text);
            }
        }
        if !metadata.target().starts_with("polylogue") {
            line.member("target", metadata.target());
        }
        for (name, value) in &event.0 {
            line.member(name, value);
        }
        line.end()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if !tells(attributes.metadata()) {
            return;
        }
        let mut about = About::default();
        attributes.record(&mut about);
        if let Some(span) = context.span(id) {
            span.extensions_mut().replace(about);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(about) = span.extensions_mut().get_mut::<About>() {
            values.record(about);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut about = About::default();
        let mut place = None;
        // From the inside out: what is nearer is more exact.
        for span in context.event_scope(event).into_iter().flatten() {
            let extensions = span.extensions();
            if place.is_none() {
                place = extensions.get::<Open>().map(|open| open.context.clone());
            }
            if let Some(outer) = extensions.get::<About>() {
                about.add(outer);
            }
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.output.line(self.line(event.metadata(), place, &about, fields));
    }
}

/// Whether a span has something that lines take over.
pub(super) fn tells(metadata: &Metadata<'_>) -> bool {
    metadata.fields().iter().any(|field| FROM_SPANS.contains(&field.name()))
}

/// What a span knows of [`FROM_SPANS`]. A span lives long and there are many: it keeps nothing that no line asks for.
#[derive(Default)]
struct About(Vec<(&'static str, Arc<str>)>);

impl About {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, text)| &**text)
    }

    fn add(&mut self, outer: &Self) {
        for (name, text) in &outer.0 {
            if self.get(name).is_none() {
                self.0.push((name, text.clone()));
            }
        }
    }

    fn set(&mut self, field: &Field, value: impl FnOnce() -> String) {
        let Some(name) = FROM_SPANS.into_iter().find(|name| *name == field.name()) else { return };
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, shortened(value()).into()));
    }
}

impl Visit for About {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, || format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, || value.to_owned());
    }
}

fn shortened(text: String) -> String {
    match text.char_indices().map(|(place, _)| place).find(|place| *place >= MAX_TEXT) {
        Some(end) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Fields of an event.
#[derive(Default)]
struct Fields(Vec<(Cow<'static, str>, Value)>);

impl Fields {
    fn set(&mut self, field: &Field, value: Value) {
        let name = field.name();
        let name = if OURS.contains(&name) { Cow::Owned(format!("{name}_")) } else { Cow::Borrowed(name) };
        self.take(&name);
        self.0.push((name, value));
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let place = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(place).1)
    }

    fn text(&mut self, field: &Field, text: String) {
        self.set(field, Value::String(shortened(text)));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }

    /// The whole chain of causes.
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.text(field, Chain(value).to_string());
    }
}

/// An object in the making: members stay in the order they are given.
struct Line(Vec<u8>);

impl Default for Line {
    fn default() -> Self {
        Self(Vec::with_capacity(LINE))
    }
}

impl Line {
    fn member(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        // Texts, numbers and truths can be written, and a Vec takes them.
        let _ = serde_json::to_writer(&mut self.0, name);
        self.0.push(b':');
        let _ = serde_json::to_writer(&mut self.0, value);
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"}\n");
        self.0
    }
}

fn level(metadata: &Metadata<'_>) -> &'static str {
    match *metadata.level() {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// RFC 3339 in UTC with milliseconds.
fn now() -> String {
    let now = OffsetDateTime::now_utc();
    let (year, month, day) = now.to_calendar_date();
    let (hour, minute, second, milli) = now.to_hms_milli();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z", u8::from(month))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    struct Caught(Sender<Vec<u8>>);

    impl io::Write for Caught {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(line.to_vec());
            Ok(line.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What one event looks like.
    fn line_of(log: impl FnOnce()) -> String {
        let (sender, caught) = channel();
        let lines = Lines::new("r-1", Output::to(Caught(sender)).unwrap());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), log);
        let line = caught.recv_timeout(Duration::from_secs(5)).unwrap();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_line_says_first_what_every_line_says() {
        let line = line_of(|| tracing::info!(event = "turn_finished", duration_ms = 12, "a turn has ended"));
        let time = line[9..33].to_owned();
        assert!(time.ends_with('Z') && time.as_bytes()[19] == b'.', "{time}");
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!(
            r#"{{"time":"{time}","level":"info","event":"turn_finished","message":"a turn has ended","service":"polylogue","version":"{version}","replica":"r-1","duration_ms":12}}"#
        );
        assert_eq!(line, expected + "\n");
    }

    #[test]
    fn a_line_takes_over_who_and_what_it_is_about_from_the_spans_around_it() {
        let line = line_of(|| {
            let outer =
                tracing::info_span!("request", request_id = "abc", client = "192.0.2.0/24", other = 1);
            let inner = outer.in_scope(|| tracing::info_span!("turn", turn_id = tracing::field::Empty));
            inner.record("turn_id", "t-1");
            inner.in_scope(|| tracing::warn!(client = "ada", "odd"));
        });
        assert!(line.contains(r#""event":"log","message":"odd""#), "{line}");
        assert!(line.contains(r#""request_id":"abc","turn_id":"t-1","client":"ada"}"#), "{line}");
    }

    #[test]
    fn fields_cannot_break_a_line() {
        let long = "é".repeat(MAX_TEXT);
        let line = line_of(|| tracing::info!(level = "none", text = "a\n\"b\"", long, rate = f64::NAN, "x"));
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!((&value["level"], &value["level_"]), (&"info".into(), &"none".into()));
        assert!(value["long"].as_str().unwrap().len() < MAX_TEXT + 8);
        assert!(value["rate"].is_null());
    }

    #[test]
    fn an_error_is_written_with_its_causes() {
        let error = anyhow::Error::msg("inner").context("outer");
        let error: Box<dyn Error + Send + Sync> = error.into();
        let line = line_of(|| tracing::error!(error = &*error as &(dyn Error + 'static), "failed"));
        assert!(line.contains("outer: inner"), "{line}");
    }
}
