//! The place of a span among others: W3C Trace Context (<https://www.w3.org/TR/trace-context/>).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest `tracestate` that is passed on, in characters; W3C asks for at least 512.
const MAX_STATE: usize = 512;

/// The most members of a `tracestate` (W3C Trace Context §3.3.1.1).
const MAX_MEMBERS: usize = 32;

/// A trace, a span in it, and whether the trace is kept. Written as a `traceparent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    pub(super) trace: u128,
    pub(super) span: u64,
    pub(super) is_sampled: bool,
    /// What other systems note about the trace.
    pub(super) state: Option<Arc<str>>,
}

/// Not a `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a trace context")]
pub struct NoTraceContext;

impl TraceContext {
    /// A new trace with a new span.
    pub(super) fn root(is_sampled: impl FnOnce(u128) -> bool) -> Self {
        let trace = loop {
            let id: u128 = rand::random();
            if id != 0 {
                break id;
            }
        };
        Self { trace, span: new_span(), is_sampled: is_sampled(trace), state: None }
    }

    /// A new span below this one.
    pub(super) fn child(&self, is_sampled: bool) -> Self {
        Self { span: new_span(), is_sampled, ..self.clone() }
    }

    /// With what came as `tracestate`, where it is one.
    pub(super) fn with_state(self, state: &str) -> Self {
        let members = || state.split(',').map(str::trim).filter(|member| !member.is_empty());
        let fits = state.len() <= MAX_STATE && members().count() <= MAX_MEMBERS;
        let visible = |member: &str| member.bytes().all(|b| (0x20..0x7f).contains(&b));
        let well_formed = members().all(|member| member.contains('=') && visible(member));
        let state = (fits && well_formed && members().next().is_some()).then(|| state.trim().into());
        Self { state, ..self }
    }

    /// Also with what other systems noted, for [`Self::from_str`] alone: never written down or sent.
    pub fn whole(&self) -> String {
        match &self.state {
            Some(state) => format!("{self} {state}"),
            None => self.to_string(),
        }
    }

    /// The trace, as logs and headers write it.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The span, as logs and headers write it.
    pub fn span_id(&self) -> String {
        format!("{:016x}", self.span)
    }
}

fn new_span() -> u64 {
    loop {
        let id: u64 = rand::random();
        if id != 0 {
            return id;
        }
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.is_sampled))
    }
}

impl FromStr for TraceContext {
    type Err = NoTraceContext;

    /// Reads a `traceparent`; of a version after 00 what it shares with 00 (W3C Trace Context §3.2.4).
    fn from_str(text: &str) -> Result<Self, NoTraceContext> {
        let (parent, state) =
            text.split_once(' ').map_or((text, None), |(parent, state)| (parent, Some(state)));
        let mut parts = parent.splitn(5, '-');
        let version = hex(parts.next(), 2)?;
        let context = Self {
            trace: hex(parts.next(), 32)?,
            span: hex(parts.next(), 16)? as u64,
            is_sampled: hex(parts.next(), 2)? & 1 == 1,
            state: None,
        };
        let is_right = match version {
            0xff => false,
            0 => parts.next().is_none(),
            _ => true,
        };
        if !is_right || context.trace == 0 || context.span == 0 {
            return Err(NoTraceContext);
        }
        Ok(match state {
            Some(state) => context.with_state(state),
            None => context,
        })
    }
}

/// `digits` lower-case hexadecimal digits.
fn hex(part: Option<&str>, digits: usize) -> Result<u128, NoTraceContext> {
    let part = part.filter(|part| part.len() == digits).ok_or(NoTraceContext)?;
    let lower = part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    lower.then(|| u128::from_str_radix(part, 16).ok()).flatten().ok_or(NoTraceContext)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_read_and_written() {
        let context: TraceContext = PARENT.parse().unwrap();
        assert!(context.is_sampled);
        assert_eq!(context.to_string(), PARENT);
        let child = context.child(false).to_string();
        assert_eq!(&child[..36], &PARENT[..36]);
        assert!(child.ends_with("-00") && child[36..52] != PARENT[36..52]);
    }

    #[test]
    fn what_is_none_is_refused_and_a_later_version_is_read_as_far_as_it_is_known() {
        for wrong in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-é-b7ad6b7169203331-01",
        ] {
            assert_eq!(wrong.parse::<TraceContext>(), Err(NoTraceContext), "{wrong}");
        }
        assert!(
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what".parse::<TraceContext>().is_ok()
        );
    }

    #[test]
    fn a_tracestate_is_kept_only_if_it_is_small_and_well_formed() {
        let with = |state: &str| PARENT.parse::<TraceContext>().unwrap().with_state(state).state;
        assert_eq!(with("a=1,b=2").as_deref(), Some("a=1,b=2"));
        for wrong in [
            String::new(),
            "a".into(),
            "a=\u{7}".into(),
            "a=1,".repeat(33),
            "a=".to_owned() + &"x".repeat(512),
        ] {
            assert_eq!(with(&wrong), None, "{wrong}");
        }
        let context = PARENT.parse::<TraceContext>().unwrap().with_state("a=1,b=2");
        assert_eq!(context.whole().parse(), Ok(context));
    }
}
