//! Whose request it is, behind proxies (`design.md` §6).
//!
//! Headers count only from trusted peers, and are read from the right: each entry was written by the hop after it, so
//! the first untrusted one is as far as anything can be believed. What a client itself writes stands to its left.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use ipnet::{IpNet, Ipv4Net};
use tracing::warn;

use super::forwarded;
use crate::telemetry::Quiet;
use crate::telemetry::metrics::{IdentifiedBy, Metrics};
use crate::words::ClientAddress;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Entries that are looked at: more than any chain of proxies, few enough that a long header costs nothing.
const MAX_HOPS: usize = 32;

/// The proxies whose word counts, and what is made of it.
#[derive(Debug)]
pub struct TrustedProxies {
    networks: Networks,
    ignored: Quiet,
    metrics: Arc<Metrics>,
}

impl TrustedProxies {
    /// Trusts the networks of `server.trusted_proxies`.
    pub fn new(networks: &[IpNet], metrics: Arc<Metrics>) -> Self {
        Self {
            networks: Networks::new(networks),
            ignored: Quiet::new("forwarded_header_ignored", 1),
            metrics,
        }
    }

    /// Tells the client's address, and by what. Forwarding headers of an untrusted peer are counted, and warned of once
    /// a minute: either somebody tries something, or the setting is missing.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> (ClientAddress, IdentifiedBy) {
        let peer = peer.to_canonical();
        if !self.networks.contains(peer) {
            self.warn_of(peer, headers);
            return (peer.into(), IdentifiedBy::Connection);
        }
        match self.told_by(headers) {
            Some(address) => (address.into(), IdentifiedBy::Header),
            None => (peer.into(), IdentifiedBy::Connection),
        }
    }

    /// What the headers tell. Where both are there they must agree: a proxy that writes the one passes the other on as
    /// the client sent it, and which one it writes cannot be seen from here.
    fn told_by(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let lines = |name| headers.get_all(name).iter().rev().map(|line: &http::HeaderValue| line.as_bytes());
        let listed = || self.walk(lines(X_FORWARDED_FOR).flat_map(forwarded::listed));
        let elements = || self.walk(lines(FORWARDED).flat_map(forwarded::elements));
        match (headers.contains_key(X_FORWARDED_FOR), headers.contains_key(FORWARDED)) {
            (true, false) => listed(),
            (false, true) => elements(),
            (true, true) => listed().filter(|address| elements() == Some(*address)),
            (false, false) => None,
        }
    }

    /// The first hop from the right that is not trusted; if all are, or if one cannot be read, the last good one.
    fn walk(&self, hops: impl Iterator<Item = Option<IpAddr>>) -> Option<IpAddr> {
        let mut last = None;
        for hop in hops.take(MAX_HOPS) {
            let Some(address) = hop else { break };
            last = Some(address);
            if !self.networks.contains(address) {
                break;
            }
        }
        last
    }

    fn warn_of(&self, peer: IpAddr, headers: &HeaderMap) {
        if !headers.contains_key(X_FORWARDED_FOR) && !headers.contains_key(FORWARDED) {
            return;
        }
        self.metrics.rate_limit.forwarded_ignored.inc(&());
        if let Some(suppressed) = self.ignored.line(&self.metrics.process) {
            warn!(
                event = "forwarded_header_ignored",
                client = ClientAddress::from(peer).cut(),
                suppressed,
                "a forwarding header came from a peer that is not in server.trusted_proxies"
            );
        }
    }
}

/// Networks, whichever way their addresses are written.
#[derive(Clone, Debug)]
pub(super) struct Networks(Vec<IpNet>);

impl Networks {
    pub(super) fn new(networks: &[IpNet]) -> Self {
        Self(networks.iter().map(canonical).collect())
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Addresses are compared in their canonical form, so an IPv4 network written as IPv6 becomes IPv4.
fn canonical(network: &IpNet) -> IpNet {
    let mapped = |v6: &ipnet::Ipv6Net| {
        let v4 = v6.addr().to_ipv4_mapped()?;
        Ipv4Net::new(v4, v6.prefix_len().checked_sub(96)?).ok()
    };
    match network {
        IpNet::V6(v6) => mapped(v6).map_or(*network, IpNet::V4),
        IpNet::V4(_) => *network,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn proxies() -> TrustedProxies {
        let networks = ["10.0.0.0/8", "::ffff:172.16.0.0/108", "2001:db8:ffff::/48"];
        let networks = networks.map(|network| network.parse().unwrap());
        TrustedProxies::new(&networks, Arc::new(Metrics::new()))
    }

    fn headers(lines: &[(&'static str, &[u8])]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &[u8])| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())
        };
        lines.iter().map(line).collect()
    }

    fn client(peer: &str, lines: &[(&'static str, &str)]) -> (String, IdentifiedBy) {
        let lines: Vec<_> = lines.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let (address, by) = proxies().client(peer.parse().unwrap(), &headers(&lines));
        (address.to_string(), by)
    }

    fn by_header(address: &str) -> (String, IdentifiedBy) {
        (address.to_owned(), IdentifiedBy::Header)
    }

    fn by_connection(address: &str) -> (String, IdentifiedBy) {
        (address.to_owned(), IdentifiedBy::Connection)
    }

    #[test]
    fn without_a_header_the_connection_tells() {
        assert_eq!(client(PROXY, &[]), by_connection(PROXY));
        assert_eq!(client("::ffff:192.0.2.7", &[]), by_connection("192.0.2.7"));
    }

    #[test]
    fn the_first_untrusted_hop_from_the_right_is_the_client() {
        let spoofed =
            [("x-forwarded-for", "1.1.1.1, 192.0.2.7"), ("x-forwarded-for", "172.16.0.9, 10.2.3.4")];
        assert_eq!(client(PROXY, &spoofed), by_header("192.0.2.7"));
        let spoofed =
            [("forwarded", r#"for=1.1.1.1, for="192.0.2.7:99";proto=https"#), ("forwarded", "for=10.9.9.9")];
        assert_eq!(client(PROXY, &spoofed), by_header("192.0.2.7"));
    }

    #[test]
    fn where_all_hops_are_trusted_the_farthest_is_the_client() {
        assert_eq!(client(PROXY, &[("x-forwarded-for", "10.1.1.1, 10.2.2.2")]), by_header("10.1.1.1"));
    }

    #[test]
    fn what_cannot_be_read_ends_the_walk_at_the_last_good_hop() {
        assert_eq!(
            client(PROXY, &[("x-forwarded-for", "192.0.2.7, nonsense, 10.2.2.2")]),
            by_header("10.2.2.2")
        );
        assert_eq!(client(PROXY, &[("forwarded", "for=192.0.2.7, for=unknown")]), by_connection(PROXY));
        assert_eq!(
            client(PROXY, &[("forwarded", "for=192.0.2.7, for=_x, for=10.2.2.2")]),
            by_header("10.2.2.2")
        );
    }

    #[test]
    fn two_headers_count_only_if_they_agree() {
        let agreeing = [("x-forwarded-for", "192.0.2.7, 10.2.2.2"), ("forwarded", "for=192.0.2.7")];
        assert_eq!(client(PROXY, &agreeing), by_header("192.0.2.7"));
        let forged = [("x-forwarded-for", "192.0.2.7"), ("forwarded", "for=1.1.1.1")];
        assert_eq!(client(PROXY, &forged), by_connection(PROXY));
    }

    #[test]
    fn an_ipv4_network_written_as_ipv6_is_that_network() {
        assert_eq!(client("172.16.3.4", &[("x-forwarded-for", "192.0.2.7")]), by_header("192.0.2.7"));
        assert_eq!(
            client("::ffff:172.31.3.4", &[("x-forwarded-for", "2001:db8::9")]),
            by_header("2001:db8::/64")
        );
    }

    #[test]
    fn only_so_many_hops_are_looked_at() {
        let chain = format!("192.0.2.7{}", ", 10.0.0.3".repeat(MAX_HOPS));
        assert_eq!(client(PROXY, &[("x-forwarded-for", &chain)]), by_header("10.0.0.3"));
    }

    #[tokio::test(start_paused = true)]
    async fn headers_of_an_untrusted_peer_are_counted_and_not_always_logged() {
        let proxies = proxies();
        let headers = headers(&[("x-forwarded-for", b"1.1.1.1")]);
        for _ in 0..3 {
            let (address, by) = proxies.client("192.0.2.7".parse().unwrap(), &headers);
            assert_eq!((address.to_string(), by), by_connection("192.0.2.7"));
        }
        assert_eq!(proxies.metrics.rate_limit.forwarded_ignored.get(&()), 3);
        assert_eq!(proxies.metrics.process.suppressed.get(&("forwarded_header_ignored".into(),)), 2);
    }

    /// What may stand in a header: mostly pieces that mean something, so that the readers are led far.
    fn line() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => prop::sample::select(vec![
                "for=", "by=", ";", ",", "\"", "\\", "[", "]", ":", " ", "10.0.0.1", "1.1.1.1", "2001:db8::1",
                "unknown", "_x", "80",
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
            1 => prop::collection::vec(prop_oneof![32_u8..127, 128_u8..=255], 0..6),
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    fn name() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["x-forwarded-for", "forwarded"])
    }

    fn seen(peer: &str, lines: &[(&'static str, &[u8])]) -> (String, IdentifiedBy) {
        let (address, by) = proxies().client(peer.parse().unwrap(), &headers(lines));
        (address.to_string(), by)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn an_untrusted_peer_says_nothing_about_who_it_is(
            lines in prop::collection::vec((name(), line()), 0..5),
        ) {
            let lines: Vec<_> = lines.iter().map(|(name, line)| (*name, line.as_slice())).collect();
            prop_assert_eq!(seen("192.0.2.7", &lines), by_connection("192.0.2.7"));
        }

        #[test]
        fn nothing_a_client_sends_changes_what_the_proxy_appends(forged in line(), name in name(), same_line: bool) {
            let honest: &[u8] = if name == "forwarded" { b"for=192.0.2.7, for=10.2.2.2" } else { b"192.0.2.7, 10.2.2.2" };
            let appended = [&forged, b", ".as_slice(), honest].concat();
            let found = if same_line {
                seen(PROXY, &[(name, &appended)])
            } else {
                seen(PROXY, &[(name, &forged), (name, honest)])
            };
            prop_assert_eq!(found, by_header("192.0.2.7"));
        }

        #[test]
        fn whatever_header_the_proxy_does_not_write_a_client_cannot_choose_its_address(
            forged in line(), proxy_writes in name(),
        ) {
            let (other, honest): (_, &[u8]) = match proxy_writes {
                "forwarded" => ("x-forwarded-for", b"for=192.0.2.7"),
                _ => ("forwarded", b"192.0.2.7"),
            };
            let found = seen(PROXY, &[(other, &forged), (proxy_writes, honest)]);
            prop_assert!([by_header("192.0.2.7"), by_connection(PROXY)].contains(&found), "{:?}", found);
        }
    }

    /// The first line of the input is `X-Forwarded-For`, the second `Forwarded`; either may be missing.
    #[test]
    fn fuzz_forwarding_headers() {
        let proxies = proxies();
        crate::fuzz::run("forwarding_headers", |bytes| {
            let mut headers = HeaderMap::new();
            for (line, name) in bytes.split(|byte| *byte == b'\n').zip([X_FORWARDED_FOR, FORWARDED]) {
                if let (false, Ok(value)) = (line.is_empty(), HeaderValue::from_bytes(line)) {
                    headers.append(name, value);
                }
            }
            let stranger: IpAddr = [198, 51, 100, 1].into();
            assert_eq!(proxies.client(stranger, &headers), (stranger.into(), IdentifiedBy::Connection));
            let (address, told) = proxies.client(PROXY.parse().unwrap(), &headers);
            let is_peer = address == ClientAddress::from(PROXY.parse::<IpAddr>().unwrap());
            assert!(is_peer || told == IdentifiedBy::Header);
        });
    }
}
