//! Where the edge meets the modules that know addresses and limit headers.

use std::net::IpAddr;

use ipnet::IpNet;
use poem::http::HeaderMap;

use crate::limits::Verdict;
use crate::telemetry::metrics::IdentifiedBy;
use crate::words::ClientAddress;

/// Who the client is: the peer itself, until forwarding headers are read by `http::client_address`.
pub(super) fn client_address(
    peer: IpAddr,
    _headers: &HeaderMap,
    _trusted: &[IpNet],
) -> (ClientAddress, IdentifiedBy) {
    (peer.into(), IdentifiedBy::Connection)
}

/// What a limited answer says about its limits: nothing, until `http::limit_headers` writes it.
pub(super) fn limit_headers(_verdict: &Verdict) -> HeaderMap {
    HeaderMap::new()
}
