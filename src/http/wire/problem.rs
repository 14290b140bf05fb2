//! Errors.

use poem_openapi::Object;

/// One fault of a request.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct Fault {
    /// Where in the body: a JSON pointer as a URI fragment.
    pub pointer: Option<String>,
    /// Which path or query parameter.
    pub parameter: Option<String>,
    /// Which header.
    pub header: Option<String>,
    /// What it must be.
    pub detail: String,
}

/// An error (RFC 9457).
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct Problem {
    /// Where the kind of error is described.
    #[oai(rename = "type")]
    pub kind: String,
    /// A short sentence, the same for every occurrence.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The kind of error; also in the header `Problem-Code`. The server may add to these.
    pub code: String,
    /// A sentence about this occurrence.
    pub detail: String,
    /// A name for this occurrence: a URN with the request's id.
    pub instance: Option<String>,
    /// The request's id, as in the log of the server.
    pub request_id: Option<String>,
    /// When trying again makes sense.
    pub retry_after_ms: Option<u64>,
    /// Every fault of the request.
    pub errors: Option<Vec<Fault>>,
    /// The turn it is about.
    pub turn_id: Option<String>,
    /// The limits that refused.
    #[oai(rename = "violated-policies")]
    pub violated_policies: Option<Vec<String>>,
}
