//! The accept loop: TCP connections in, requests to a poem endpoint.
//!
//! poem's own server is not used: it polls a finished connection again (so that a body that fails half-way looks
//! complete, and an idle stream outlives its reader), has no time limit for headers, and spins without file descriptors.

mod connection;
mod crowd;
mod host;
mod listen;
mod pace;
mod place;
mod proxy;
mod streams;
mod tied;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::conn::auto::Builder;
use ipnet::IpNet;
use poem::{Endpoint, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::MissedTickBehavior;
use tracing::{debug, warn};

use crowd::Crowd;
pub use listen::listener;
pub use pace::Wire;
use streams::Streams;
pub use tls::{Tls, TlsError};

use crate::config;
use crate::http::Health;
use crate::http::client_address::Networks;
use crate::resilience::Pressure;
use crate::shutdown::Shutdown;
use crate::telemetry::Quiet;
use crate::telemetry::metrics::Metrics;
use crate::words::ClientAddress;

/// How often the loop says that it runs; an eleventh of what `/livez` tolerates.
const BEAT: Duration = Duration::from_secs(1);
/// The pause after a failed accept. Without file descriptors every accept fails at once, and the loop would spin.
const PAUSE: Duration = Duration::from_millis(50);
/// While work waits too long for a processor, so many are accepted before a pause: the others wait in the kernel, where they cost
/// nothing. A crowd let in at once would take the time of those that are inside, and each have less of it.
const BATCH: u32 = 32;
const BREATH: Duration = Duration::from_millis(5);
/// Probes, scrapes and people at the management port; apart from the public one, so that a full house can still be looked into.
const MANAGEMENT_CONNECTIONS: usize = 128;

/// How long a connection may take for what, and how many there may be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A request's header, from its first byte; the first one's from accept. The PROXY header, too.
    pub header_timeout: Duration,
    /// How long an idle connection is kept.
    pub keep_alive_timeout: Duration,
    /// How long a reader may take nothing of what is written to it.
    pub slow_reader_timeout: Duration,
    /// How many connections are held; more wait to be accepted.
    pub max_connections: usize,
    /// How many of them one address may hold; `None` is any number.
    pub max_connections_per_address: Option<NonZeroUsize>,
    /// Networks whose addresses may hold any number.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether connections begin with a PROXY protocol v2 header.
    pub proxy_protocol: bool,
    /// The certificate, where TLS is spoken; it follows the PROXY header.
    pub tls: Option<Arc<Tls>>,
}

impl Settings {
    /// The public port.
    pub fn public(server: &config::Server) -> Self {
        Self {
            header_timeout: server.header_timeout.0,
            keep_alive_timeout: server.keep_alive_timeout.0,
            slow_reader_timeout: server.slow_reader_timeout.0,
            max_connections: server.max_connections.get(),
            max_connections_per_address: NonZeroUsize::new(server.max_connections_per_address),
            trusted_proxies: server.trusted_proxies.clone(),
            proxy_protocol: server.proxy_protocol,
            tls: None,
        }
    }

    /// The management port: reached directly, by few.
    pub fn management(server: &config::Server) -> Self {
        Self {
            max_connections: MANAGEMENT_CONNECTIONS,
            max_connections_per_address: None,
            proxy_protocol: false,
            ..Self::public(server)
        }
    }

    /// With this certificate, or without TLS.
    #[must_use]
    pub fn with_tls(self, tls: Option<Arc<Tls>>) -> Self {
        Self { tls, ..self }
    }
}

/// Who wants to know about the connections of a port.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Counts them.
    pub metrics: Arc<Metrics>,
    /// Hears that the loop runs.
    pub health: Arc<Health>,
    /// Knows whether there is time for more.
    pub pressure: Arc<Pressure>,
}

/// Serves `endpoint` on `listener` until `shutdown` is closing and the last connection has ended, sockets included;
/// on its hard signal they are dropped.
pub async fn serve<E>(
    listener: TcpListener,
    endpoint: E,
    settings: Settings,
    watched: Option<Watched>,
    shutdown: Shutdown,
) where
    E: Endpoint<Output = Response> + 'static,
{
    Arc::new(Acceptor::new(endpoint, settings, watched, shutdown)).serve(listener).await;
}

/// What all connections of one port share.
pub struct Acceptor<E> {
    endpoint: Arc<E>,
    settings: Settings,
    watched: Option<Watched>,
    shutdown: Shutdown,
    crowd: Arc<Crowd>,
    turned_away: Quiet,
    tls_failures: Quiet,
    builder: Builder<Streams>,
}

impl<E> Acceptor<E>
where
    E: Endpoint<Output = Response> + 'static,
{
    /// Serves `endpoint` to connections that are handed in.
    pub fn new(endpoint: E, settings: Settings, watched: Option<Watched>, shutdown: Shutdown) -> Self {
        Self {
            endpoint: Arc::new(endpoint),
            builder: connection::builder(shutdown.clone(), settings.slow_reader_timeout),
            crowd: Crowd::new(settings.max_connections_per_address, Networks::new(&settings.trusted_proxies)),
            turned_away: Quiet::new("connection_rejected", 1),
            tls_failures: Quiet::new("tls_handshake_failed", 5),
            settings,
            watched,
            shutdown,
        }
    }

    /// Whom a line about a connection names, and how many lines were left out before it; `None` if this one is to be, too.
    fn may_say(&self, quiet: &Quiet, peer: SocketAddr) -> Option<(String, u64)> {
        let process = &self.watched.as_ref()?.metrics.process;
        let suppressed = quiet.line(process)?;
        Some((ClientAddress::from(peer.ip()).cut(), suppressed))
    }

    async fn serve(self: Arc<Self>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(self.most()));
        let (mut is_failing, mut batch) = (false, 0);
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.shutdown.closing().cancelled() => break,
                () = self.shutdown.hard().cancelled() => break,
                _ = beat.tick() => self.beat(),
                (accepted, permit) = accept(&listener, &places) => match accepted {
                    Ok((stream, peer)) => {
                        is_failing = false;
                        self.clone().spawn(stream, peer, permit);
                        batch = if self.is_late() { batch + 1 } else { 0 };
                        if batch >= BATCH {
                            batch = 0;
                            tokio::time::sleep(BREATH).await;
                        }
                    }
                    Err(error) => pause_after(&error, &mut is_failing).await,
                },
            }
        }
        drop(listener);
        self.all_ended(&places).await;
    }

    /// As many as one call can wait for; no machine has more.
    fn most(&self) -> usize {
        self.settings.max_connections.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize)
    }

    fn is_late(&self) -> bool {
        self.watched.as_ref().is_some_and(|watched| watched.pressure.is_late())
    }

    fn beat(&self) {
        if let Some(watched) = &self.watched {
            watched.health.beat();
        }
    }

    fn spawn(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        // Without it the last packet of an event waits for the reader's delayed acknowledgement (40 ms).
        let prepared = stream.set_nodelay(true).and_then(|()| stream.local_addr());
        let Ok(local) = prepared else { return };
        let shutdown = self.shutdown.clone();
        shutdown.spawn(async move {
            let end = self.serve_connection(stream, peer, local, Some(permit)).await;
            debug!(end = ?end, "connection ended");
        });
    }

    /// A place is given back when its socket is dropped, so that all of them together mean: nothing is open any more.
    async fn all_ended(&self, places: &Semaphore) {
        tokio::select! {
            _ = places.acquire_many(u32::try_from(self.most()).unwrap_or(u32::MAX)) => {}
            () = self.shutdown.hard().cancelled() => {}
        }
    }
}

/// Takes a place first and a connection second: while the house is full, connections wait in the kernel's queue.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (io::Result<(TcpStream, SocketAddr)>, OwnedSemaphorePermit) {
    loop {
        if let Ok(permit) = places.clone().acquire_owned().await {
            return (listener.accept().await, permit);
        }
    }
}

/// Says once that connections cannot be accepted, until one was.
async fn pause_after(error: &io::Error, is_failing: &mut bool) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset};
    if matches!(error.kind(), ConnectionAborted | ConnectionReset) {
        return; // that client's trouble, not ours
    }
    if !std::mem::replace(is_failing, true) {
        warn!(event = "accept_failed", error = %error, "connections cannot be accepted");
    }
    tokio::time::sleep(PAUSE).await;
}
