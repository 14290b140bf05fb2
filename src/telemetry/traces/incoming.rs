//! What a caller says about the trace its request belongs to. Anybody may say anything, so all of it is bounded, and
//! whatever is not well formed is as if it had not been said.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;

use super::TraceContext;
use crate::config::{Propagator, Tracing};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// Bounds of `baggage` (W3C Baggage §3.3.2); one that is larger is ignored as a whole.
const MAX_BAGGAGE_BYTES: usize = 8192;
const MAX_BAGGAGE_MEMBERS: usize = 64;

/// The longest baggage value that becomes an attribute, in characters.
const MAX_VALUE: usize = 256;

/// What came with a request.
#[derive(Debug, Default)]
pub struct Incoming {
    /// The caller's span.
    pub context: Option<TraceContext>,
    /// The entries that the operator wants to see, one per line.
    pub baggage: String,
}

impl Incoming {
    /// Reads the headers, as far as the settings want it.
    pub fn of(headers: &HeaderMap, settings: &Tracing) -> Self {
        let takes = |what| settings.enabled && settings.propagators.contains(&what);
        Self {
            context: takes(Propagator::TraceContext).then(|| context(headers)).flatten(),
            baggage: if takes(Propagator::Baggage) {
                baggage(headers, &settings.baggage)
            } else {
                String::new()
            },
        }
    }
}

/// More than one `traceparent` is none (W3C Trace Context §3.2).
fn context(headers: &HeaderMap) -> Option<TraceContext> {
    let mut parents = headers.get_all(TRACEPARENT).into_iter();
    let (parent, more) = (parents.next()?, parents.next());
    let parent = parent.to_str().ok().filter(|text| more.is_none() && !text.contains(' '))?;
    let context: TraceContext = parent.parse().ok()?;
    Some(context.with_state(&lines(headers, &TRACESTATE).unwrap_or_default()))
}

/// The wanted entries as `name=value` lines; what stands behind a `;` is not part of the value.
fn baggage(headers: &HeaderMap, wanted: &[String]) -> String {
    let mut found = String::new();
    if wanted.is_empty() {
        return found;
    }
    let Some(all) = lines(headers, &BAGGAGE).filter(|all| all.split(',').count() <= MAX_BAGGAGE_MEMBERS)
    else {
        return found;
    };
    for (name, value) in all.split(',').filter_map(|member| member.split_once('=')) {
        let name = name.trim();
        let value = value.split(';').next().unwrap_or_default().trim();
        let Ok(value) = percent_decode_str(value).decode_utf8() else { continue };
        if wanted.iter().any(|it| it == name) {
            let value = value.chars().filter(|c| !c.is_control()).take(MAX_VALUE).collect::<String>();
            // Writing to a String cannot fail.
            let _ = writeln!(found, "{name}={value}");
        }
    }
    found
}

/// All lines of a header as one; none if that is too much.
fn lines(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut all = String::new();
    for line in headers.get_all(name) {
        let line = line.to_str().ok()?;
        if all.len() + line.len() >= MAX_BAGGAGE_BYTES {
            return None;
        }
        if !all.is_empty() {
            all.push(',');
        }
        all.push_str(line);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn read(headers: &[(&HeaderName, &str)]) -> Incoming {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let settings = Tracing { baggage: vec!["tenant".into()], ..crate::config::Config::default().tracing };
        Incoming::of(&map, &settings)
    }

    #[test]
    fn a_callers_span_is_taken_with_what_others_noted() {
        let context =
            read(&[(&TRACEPARENT, PARENT), (&TRACESTATE, "a=1"), (&TRACESTATE, "b=2")]).context.unwrap();
        assert_eq!(context.whole(), format!("{PARENT} a=1,b=2"));
    }

    #[test]
    fn what_is_not_well_formed_or_too_much_is_as_if_it_was_not_said() {
        let (huge, many) = ("x".repeat(100_000), "tenant=a,".repeat(65));
        assert!(read(&[(&TRACEPARENT, PARENT), (&TRACEPARENT, PARENT)]).context.is_none());
        assert!(read(&[(&TRACEPARENT, &huge)]).context.is_none());
        assert!(read(&[(&TRACEPARENT, &format!("{PARENT} a=1"))]).context.is_none());
        let with_huge_state = read(&[(&TRACEPARENT, PARENT), (&TRACESTATE, &huge)]).context.unwrap();
        assert_eq!(with_huge_state.whole(), PARENT);
        for baggage in [huge.as_str(), &many, "tenant", "tenant=%ff", "\u{e9}=1"] {
            assert_eq!(read(&[(&BAGGAGE, baggage)]).baggage, "", "{}", baggage.len());
        }
    }

    #[test]
    fn only_the_baggage_that_the_operator_named_is_looked_at() {
        let said = "secret=hunter2,tenant = blue%20team ; ttl=1,tenantx=no";
        assert_eq!(read(&[(&BAGGAGE, said)]).baggage, "tenant=blue team\n");
    }
}
