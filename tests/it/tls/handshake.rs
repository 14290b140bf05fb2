//! What is negotiated, and who is refused.

use std::time::Duration;

use http::Version;
use polylogue::config::TlsVersion;
use polylogue::telemetry::metrics::ConnectionEnd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::rig::{Manner, Port, client, settings, shake};
use crate::support::{Certificates, eventually};

async fn connect(port: &Port) -> TcpStream {
    TcpStream::connect(port.address).await.unwrap()
}

impl Port {
    async fn closed(&self, end: ConnectionEnd, times: u64) {
        let claim = format!("{end:?} {times} times");
        eventually(&claim, async || self.metrics.connections.closed.get(&(end,)) == times).await;
    }
}

#[tokio::test]
async fn clients_choose_their_version_of_http_and_requests_know_that_they_are_secure() {
    let certificates = Certificates::make();
    let port = Port::open(&settings(&certificates.pair("server")), |_| {}).await.unwrap();
    let newer = client(&certificates).build().unwrap();
    let older = client(&certificates).http1_only().build().unwrap();
    assert_eq!(port.ask(&newer).await.unwrap(), format!("https {:?}", Version::HTTP_2));
    assert_eq!(port.ask(&older).await.unwrap(), format!("https {:?}", Version::HTTP_11));
}

#[tokio::test]
async fn the_protocol_is_agreed_on_in_the_handshake() {
    let certificates = Certificates::make();
    let port = Port::open(&settings(&certificates.pair("server")), |_| {}).await.unwrap();
    let agreed = async |protocols: &[&'static str]| {
        let manner = Manner { protocols: protocols.into(), ..Manner::default() };
        let stream = shake(&certificates, connect(&port).await, manner).await?;
        Ok::<_, std::io::Error>(stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(agreed(&["http/1.1", "h2"]).await.unwrap().unwrap(), b"h2", "the server prefers it");
    assert_eq!(agreed(&["http/1.1"]).await.unwrap().unwrap(), b"http/1.1");
    assert_eq!(agreed(&[]).await.unwrap(), None, "not everybody asks");
    assert!(agreed(&["smtp"]).await.is_err(), "somebody who wants something else is in the wrong place");
}

#[tokio::test]
async fn old_versions_are_refused() {
    let certificates = Certificates::make();
    let mut tls = settings(&certificates.pair("server"));
    for (min_version, is_served) in [(TlsVersion::V1_2, true), (TlsVersion::V1_3, false)] {
        tls.min_version = min_version;
        let port = Port::open(&tls, |_| {}).await.unwrap();
        let only = |version| Manner { only: Some(version), ..Manner::default() };
        let older = shake(&certificates, connect(&port).await, only(TlsVersion::V1_2)).await;
        assert_eq!(older.is_ok(), is_served, "{min_version:?}");
        shake(&certificates, connect(&port).await, only(TlsVersion::V1_3)).await.unwrap();
        port.closed(ConnectionEnd::TlsError, u64::from(!is_served)).await;
    }
}

#[tokio::test]
async fn whoever_does_not_speak_tls_is_counted_and_whoever_just_looks_is_not() {
    let certificates = Certificates::make();
    let port = Port::open(&settings(&certificates.pair("server")), |_| {}).await.unwrap();
    let mut plain = connect(&port).await;
    plain.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    drop(plain.read_to_end(&mut answer).await);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    port.closed(ConnectionEnd::TlsError, 1).await;
    drop(connect(&port).await);
    port.closed(ConnectionEnd::Done, 1).await;
    assert_eq!(port.metrics.connections.closed.get(&(ConnectionEnd::TlsError,)), 1);
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_given_up_in_the_time_of_a_header() {
    let certificates = Certificates::make();
    let tls = settings(&certificates.pair("server"));
    let quick = |settings: &mut polylogue::http::accept::Settings| {
        settings.header_timeout = Duration::from_millis(200);
    };
    let port = Port::open(&tls, quick).await.unwrap();
    let mut silent = connect(&port).await;
    let mut half = connect(&port).await;
    half.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await.unwrap();
    port.closed(ConnectionEnd::HeaderTimeout, 2).await;
    assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);

    let shaken = shake(&certificates, connect(&port).await, Manner::default()).await.unwrap();
    port.closed(ConnectionEnd::HeaderTimeout, 3).await;
    drop(shaken);
}

#[tokio::test]
async fn the_proxy_protocol_comes_before_tls() {
    const HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\xc0\0\x02\x01\x12\x34\x01\xbb";
    let certificates = Certificates::make();
    let tls = settings(&certificates.pair("server"));
    let one_each = |settings: &mut polylogue::http::accept::Settings| {
        settings.proxy_protocol = true;
        settings.max_connections_per_address = 1.try_into().ok();
    };
    let port = Port::open(&tls, one_each).await.unwrap();
    let named = async |last_byte: u8| {
        let mut header = HEADER.to_vec();
        header[19] = last_byte;
        let mut io = connect(&port).await;
        io.write_all(&header).await.unwrap();
        shake(&certificates, io, Manner::default()).await
    };
    let mut first = named(9).await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
    let mut status = [0; 12];
    first.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");

    assert!(named(9).await.is_err(), "whom the header names holds as many as it may");
    named(10).await.unwrap();
    port.closed(ConnectionEnd::Limit, 1).await;

    let without = shake(&certificates, connect(&port).await, Manner::default()).await;
    assert!(without.is_err(), "a balancer that forgets its header is not served");
    port.closed(ConnectionEnd::ProtocolError, 1).await;
}
