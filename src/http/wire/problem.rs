//! Errors.

use poem_openapi::Object;

use super::scalars::Code;
use crate::words::TurnId;

/// One fault of a request: where (one of `pointer`, `parameter`, `header`), and what it must be.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct Fault {
    /// A JSON pointer as a URI fragment, for a fault in the body.
    pub pointer: Option<String>,
    /// The name of a path or query parameter.
    pub parameter: Option<String>,
    /// The name of a header.
    pub header: Option<String>,
    /// What it must be.
    pub detail: String,
}

/// An error (RFC 9457). As a response it has `instance` and `request_id`; inside a turn, an event or a frame it may have neither.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct Problem {
    /// A page about this kind of error: `/problems/{code}`.
    #[oai(rename = "type")]
    pub kind: String,
    /// A short sentence for people, the same for every occurrence.
    pub title: String,
    /// The HTTP status that goes with the code.
    pub status: u16,
    /// What programs decide by; also in the header `Problem-Code`. More codes may be added.
    pub code: Code,
    /// A sentence about this occurrence.
    pub detail: String,
    /// This occurrence: `urn:polylogue:request:{request_id}`.
    pub instance: Option<String>,
    /// The request's id, as in `X-Request-ID` and in the server's log.
    pub request_id: Option<String>,
    /// All faults of the request.
    pub errors: Option<Vec<Fault>>,
    /// When trying again makes sense, in milliseconds; `Retry-After` says it in whole seconds.
    pub retry_after_ms: Option<u64>,
    /// The turn it is about.
    pub turn_id: Option<TurnId>,
    /// The rate-limit policies that refused.
    #[oai(rename = "violated-policies")]
    pub violated_policies: Option<Vec<String>>,
}
