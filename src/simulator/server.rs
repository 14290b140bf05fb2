//! The accept loop. Not poem's server: that one completes bodies which failed, and a cut stream must look cut.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Endpoint, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::controls::Controls;
use crate::shutdown::Shutdown;

/// As many connections as one replica holds itself (`server.max_connections`); more wait to be accepted.
const MAX_CONNECTIONS: usize = 10_000;
/// How long a connection may be idle; above the idle time of client pools (90 s), so that they close first.
const KEEP_ALIVE: Duration = Duration::from_secs(120);
/// How long to wait after a failed accept: out of file descriptors is nothing to spin on.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until `shutdown` closes; answers that run may end until it is hard.
pub(super) async fn accept<E>(listener: TcpListener, endpoint: E, controls: Controls, shutdown: Shutdown)
where
    E: Endpoint<Output = Response> + 'static,
{
    let endpoint = Arc::new(endpoint);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let (stream, peer, place) = tokio::select! {
            () = shutdown.closing().cancelled() => return,
            () = shutdown.hard().cancelled() => return,
            accepted = next(&listener, &places) => accepted,
        };
        let counted = controls.connected();
        let (endpoint, stop) = (endpoint.clone(), shutdown.clone());
        shutdown.spawn(async move {
            serve(stream, peer, endpoint, stop).await;
            drop((counted, place));
        });
    }
}

async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    loop {
        if let (Ok(place), Ok((stream, peer))) =
            (places.clone().acquire_owned().await, listener.accept().await)
        {
            return (stream, peer, place);
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

async fn serve<E>(stream: TcpStream, peer: SocketAddr, endpoint: Arc<E>, shutdown: Shutdown)
where
    E: Endpoint<Output = Response> + 'static,
{
    // Tokens are small and each one counts; a socket that refuses the option still works.
    drop(stream.set_nodelay(true));
    let Ok(local) = stream.local_addr() else { return };
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let endpoint = endpoint.clone();
        async move {
            let (local, remote) = (LocalAddr(local.into()), RemoteAddr(peer.into()));
            let request = poem::Request::from((request, local, remote, http::uri::Scheme::HTTP));
            Ok::<_, Infallible>(hyper::Response::from(endpoint.get_response(request).await))
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(KEEP_ALIVE);
    builder.http2().timer(TokioTimer::new());

    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // How a client leaves is its own affair, and counted where its answer is played.
        _ = connection.as_mut() => return,
        () = shutdown.hard().cancelled() => return,
        () = shutdown.closing().cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = shutdown.hard().cancelled() => {}
    }
}
