//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderValue, StatusCode, Version, header, uri::Scheme};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Endpoint, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout_at;
use tokio_rustls::rustls;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::pace::{Clock, Pace, Paced, Wire};
use super::place::Place;
use super::streams::{Stream, Streams};
use super::tied::Tied;
use super::tls::Tls;
use super::{Acceptor, host, proxy};
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::ConnectionEnd;

/// Header fields of one request. A browser behind two proxies sends about 30.
const MAX_HEADERS: usize = 64;
/// Bytes of one HTTP/1 header, and of what is written ahead of a slow reader.
const MAX_BUFFER: usize = 32 * 1024;
/// Bytes of one HTTP/2 header list, as HTTP/2 counts them.
const MAX_HEADER_LIST: u32 = 16 * 1024;
/// Requests at once on one HTTP/2 connection. RFC 9113 §6.5.2 recommends no fewer than 100.
const MAX_STREAMS: u32 = 128;
/// Streams a client may open and reset before we accept them (CVE-2023-44487), and errors of its own making.
const MAX_RESETS: usize = 20;
const MAX_STREAM_ERRORS: usize = 256;
/// A silent HTTP/2 peer is asked this often, and is gone when it does not answer for as long again.
const HTTP2_PING: Duration = Duration::from_secs(20);
/// What one HTTP/2 request body, and all of a connection, may have in flight.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// HTTP/1 and HTTP/2, within bounds; without TLS, HTTP/2 with prior knowledge, as balancers speak it that are told to
/// (`appProtocol: kubernetes.io/h2c`). HTTP/1 gets no timer: see [`super::pace`].
pub(super) fn builder(shutdown: Shutdown, slow_reader_timeout: Duration) -> Builder<Streams> {
    let mut builder = Builder::new(Streams { shutdown, slow_reader_timeout });
    builder.http1().max_headers(MAX_HEADERS).max_buf_size(MAX_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_STREAM_ERRORS)
        .max_send_buf_size(MAX_BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(HTTP2_PING)
        .keep_alive_timeout(HTTP2_PING);
    builder
}

impl<E> Acceptor<E>
where
    E: Endpoint<Output = Response> + 'static,
{
    /// Serves one connection until it ends, is upgraded, takes too long, or the process stops; says why it ended.
    pub async fn serve_connection<IO>(
        &self,
        mut io: IO,
        peer: SocketAddr,
        local: SocketAddr,
        permit: Option<OwnedSemaphorePermit>,
    ) -> ConnectionEnd
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let place = Place::taken(permit, self.watched.as_ref().map(|watched| &watched.metrics));
        let pace = Pace::fresh(&self.settings);
        let ended = async {
            let peer = self.source(&mut io, peer, &pace).await?;
            let Some(member) = self.crowd.admit(peer.ip()) else { return Err(self.turned_away(peer)) };
            let io = Paced::new(io, pace.clone(), (place.clone(), member));
            let Some(tls) = &self.settings.tls else {
                return Ok(self.serve_http(io, [peer, local], Scheme::HTTP, pace).await);
            };
            let io = self.secured(tls, io, peer, &pace).await?;
            Ok(self.serve_http(io, [peer, local], Scheme::HTTPS, pace).await)
        };
        let end = ended.await.unwrap_or_else(|end| end);
        place.ended(end);
        end
    }

    /// Who is at the other end: the peer itself, or whom the balancer's PROXY header names.
    async fn source<IO>(
        &self,
        io: &mut IO,
        peer: SocketAddr,
        pace: &Pace,
    ) -> Result<SocketAddr, ConnectionEnd>
    where
        IO: AsyncRead + Unpin,
    {
        if !self.settings.proxy_protocol {
            return Ok(peer);
        }
        match self.before_http(pace, proxy::read_source(io)).await? {
            Ok(source) => Ok(source.unwrap_or(peer)),
            Err(_) => Err(ConnectionEnd::ProtocolError),
        }
    }

    /// The TLS handshake. Whoever leaves in the middle of it has done nothing wrong: balancers look that way whether a
    /// port is open.
    async fn secured<IO>(
        &self,
        tls: &Tls,
        io: IO,
        peer: SocketAddr,
        pace: &Pace,
    ) -> Result<TlsStream<IO>, ConnectionEnd>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = self.before_http(pace, tls.acceptor().accept(io)).await?;
        handshake.map_err(|error| {
            let breach = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            let Some(breach) = breach else { return ConnectionEnd::Done };
            if let Some((client, suppressed)) = self.may_say(&self.tls_failures, peer) {
                info!(event = "tls_handshake_failed", client, reason = %breach, suppressed, "connection refused");
            }
            ConnectionEnd::TlsError
        })
    }

    /// One more than an address may hold.
    fn turned_away(&self, peer: SocketAddr) -> ConnectionEnd {
        if let Some((client, suppressed)) = self.may_say(&self.turned_away, peer) {
            warn!(
                event = "connection_rejected",
                client,
                reason = "max_connections_per_address",
                suppressed,
                "an address holds as many connections as it may; if it is a proxy, server.trusted_proxies should say so"
            );
        }
        ConnectionEnd::Limit
    }

    /// What has to be done before the first request: in time, and given up when the process stops.
    async fn before_http<T>(&self, pace: &Pace, step: impl Future<Output = T>) -> Result<T, ConnectionEnd> {
        tokio::select! {
            done = timeout_at(pace.first_request_by(), step) => done.map_err(|_| ConnectionEnd::HeaderTimeout),
            () = self.shutdown.closing().cancelled() => Err(ConnectionEnd::Drain),
            () = self.shutdown.hard().cancelled() => Err(ConnectionEnd::Drain),
        }
    }

    async fn serve_http<IO>(
        &self,
        io: IO,
        addresses: [SocketAddr; 2],
        scheme: Scheme,
        pace: Arc<Pace>,
    ) -> ConnectionEnd
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let answer = |request| self.answer(request, addresses, scheme.clone(), &pace);
        let connection = self.builder.serve_connection_with_upgrades(TokioIo::new(io), service_fn(answer));
        let mut connection = pin!(connection);
        let mut clock = Clock::of(pace.clone());
        let mut told_to_go = pin!(told_to_go(&self.shutdown, &pace));
        let mut leaving = false;
        loop {
            // In this order: what moves the clock happens while the connection is polled.
            tokio::select! {
                biased;
                ended = connection.as_mut() => return why(ended, leaving),
                end = poll_fn(|cx| clock.poll_expired(cx)) => return end,
                () = self.shutdown.hard().cancelled() => return ConnectionEnd::Drain,
                () = told_to_go.as_mut(), if !leaving => {
                    leaving = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }

    fn answer(
        &self,
        request: hyper::Request<Incoming>,
        [peer, local]: [SocketAddr; 2],
        scheme: Scheme,
        pace: &Arc<Pace>,
    ) -> impl Future<Output = Result<hyper::Response<Tied>, Infallible>> + Send + 'static {
        let (version, is_clear) = (request.version(), host::is_clear(&request));
        let answering = pace.request_started(version);
        let pace = pace.clone();
        let endpoint = self.endpoint.clone();
        let draining = self.shutdown.draining().clone();
        async move {
            let stream = Stream::current();
            let mut request: Request =
                (request, LocalAddr(local.into()), RemoteAddr(peer.into()), scheme).into();
            request.set_data(Wire::new(pace, stream.clone()));
            let mut response = if is_clear { endpoint.get_response(request).await } else { host::refusal() };
            fit_connection(&mut response, version, &draining);
            Ok(hyper::Response::from(response).map(|body| Tied::new(body, answering, stream)))
        }
    }
}

/// Ready when the connection should be told to end: at once when the process is closing; while it is only draining, an
/// HTTP/2 connection (GOAWAY costs its client nothing), but not an idle HTTP/1 one, whose client may just be sending.
async fn told_to_go(shutdown: &Shutdown, pace: &Pace) {
    let goaway = async {
        shutdown.draining().cancelled().await;
        // Looked at again after each poll of the connection, which is what may change it.
        poll_fn(|_| if pace.is_http2() { Poll::Ready(()) } else { Poll::Pending }).await;
    };
    tokio::select! {
        () = shutdown.closing().cancelled() => {}
        () = goaway => {}
    }
}

/// An HTTP/1 answer of a draining process asks its client to go elsewhere. HTTP/2 has GOAWAY for that, and no fields
/// about the connection (RFC 9113 §8.2.2).
fn fit_connection(response: &mut Response, version: Version, draining: &CancellationToken) {
    let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if version == Version::HTTP_2 {
        response.headers_mut().remove(header::CONNECTION);
        response.headers_mut().remove(header::UPGRADE);
    } else if draining.is_cancelled() && !upgraded {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

fn why(ended: Result<(), Box<dyn StdError + Send + Sync>>, leaving: bool) -> ConnectionEnd {
    match ended {
        _ if leaving => ConnectionEnd::Drain,
        Ok(()) => ConnectionEnd::Done,
        Err(error) if is_nobodys_fault(error.as_ref()) => ConnectionEnd::Done,
        Err(error) => match error.downcast_ref::<hyper::Error>() {
            Some(error) if error.is_timeout() => ConnectionEnd::IdleTimeout,
            Some(_) | None => ConnectionEnd::ProtocolError,
        },
    }
}

/// A peer that is gone, or a body of ours that failed: not a breach of the protocol.
fn is_nobodys_fault(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let gone = error.downcast_ref::<hyper::Error>().is_some_and(|error| {
            error.is_incomplete_message() || error.is_canceled() || error.is_closed() || error.is_user()
        });
        if gone || error.is::<io::Error>() {
            return true;
        }
        next = error.source();
    }
    false
}
