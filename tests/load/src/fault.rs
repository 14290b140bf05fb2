//! Why a request or a turn was not completed.

use std::borrow::Cow;

/// Why not: a name to count by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The name: a problem's code, or what happened on the connection.
    pub kind: Cow<'static, str>,
    /// Whether the other side said "not now" (429, 503) instead of failing.
    pub is_refusal: bool,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
}

impl Fault {
    /// Something on our side of the wire: no connection, a cut stream, a wrong text.
    pub const fn of(kind: &'static str) -> Self {
        Self { kind: Cow::Borrowed(kind), is_refusal: false, status: None }
    }

    /// An answer that says no; `code` is the problem's, if it has one.
    pub fn answered(status: u16, code: Option<&str>) -> Self {
        let kind = code.map_or_else(|| format!("http_{status}"), str::to_owned);
        Self { kind: kind.into(), is_refusal: matches!(status, 429 | 503), status: Some(status) }
    }
}

/// The connection could not be made.
pub const NO_CONNECTION: Fault = Fault::of("no_connection");
/// No file descriptor or no local port is left on this machine: the measurement is of the generator, not of the service.
pub const NO_DESCRIPTORS: Fault = Fault::of("generator_out_of_descriptors_or_ports");
/// The connection broke before the answer was whole.
pub const BROKEN: Fault = Fault::of("connection_broken");
/// Nothing came in the time that was allowed.
pub const TIMEOUT: Fault = Fault::of("timeout");
/// A stream ended before its last event.
pub const TRUNCATED: Fault = Fault::of("stream_truncated");
/// An answer cannot be read.
pub const UNREADABLE: Fault = Fault::of("unreadable_answer");
