//! Where the edge meets the modules that know addresses and limits.

use std::net::IpAddr;

use ipnet::IpNet;
use poem::http::{HeaderMap, HeaderName, HeaderValue};

use crate::http::problem::Problem;
use crate::limits::Verdict;
use crate::telemetry::metrics::IdentifiedBy;
use crate::words::{ClientAddress, ErrorCode, Failure};

/// Who the client is: the peer itself, until forwarding headers are read by `http::client_address`.
pub(super) fn client_address(
    peer: IpAddr,
    _headers: &HeaderMap,
    _trusted: &[IpNet],
) -> (ClientAddress, IdentifiedBy) {
    (peer.into(), IdentifiedBy::Connection)
}

/// What a limited answer says about its limits: nothing, until `http::limit_headers` writes it.
pub(super) fn limit_headers(_verdict: &Verdict) -> Vec<(HeaderName, HeaderValue)> {
    Vec::new()
}

/// The problem of a refusal, in its plainest form until `http::limit_headers` writes it.
pub(super) fn limit_problem(verdict: &Verdict) -> Problem {
    let waits = verdict.standings.iter().filter_map(|standing| standing.retry_after);
    let failure = Failure::new(ErrorCode::RateLimited, "Too many requests; wait before the next.");
    failure.retry_after(waits.max().unwrap_or_default()).into()
}
