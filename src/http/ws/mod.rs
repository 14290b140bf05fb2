//! The WebSocket door (`wire.md`): the decision before the upgrade, and the protocol after it.
//!
//! `endpoint` answers `GET /api/v1/chat/ws`. What must happen after the upgrade lives in a task of its own, which the
//! stop waits for: the handler's future ends with the response.

mod auth;
mod close;
mod frames;
mod handshake;
mod pace;
mod refusal;
mod replies;
mod requests;
mod session;
mod turns;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use poem::endpoint::make;
use poem::http::StatusCode;
use poem::http::header::{CACHE_CONTROL, LOCATION};
use poem::web::Json;
use poem::{Endpoint, IntoResponse, OnUpgrade, Request, Response};
use serde_json::json;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tracing::{Instrument as _, debug, info_span};

use crate::config::Config;
use crate::connections::{Connections, Place};
use crate::http::{HeldPlace, Identity, Services};
use crate::telemetry::traces::{self, TraceContext};
use crate::words::{ErrorCode, Failure};
use handshake::Handshake;
pub use handshake::token_in_protocols;
use refusal::Refusal;
pub use refusal::refused;
use session::Session;
use wire::Wire;

/// Where the socket is.
pub const PATH: &str = "/api/v1/chat/ws";
/// How long the connection may take from our 101 to being a socket; only our own response is still to be written.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers `GET /api/v1/chat/ws`: every refusal is an ordinary problem, before the upgrade.
pub fn endpoint(services: Services, connections: Arc<Connections>) -> impl Endpoint<Output = Response> {
    make(move |request: Request| {
        let (services, connections) = (services.clone(), connections.clone());
        async move { upgrade(services, connections, request).await.map_err(poem::Error::from) }
    })
}

/// Answers `POST /api/v1/chat/ws/tickets`: the same decision as an upgrade's, readable for browsers; the place is held.
pub fn tickets(connections: Arc<Connections>) -> impl Endpoint<Output = Response> {
    make(move |request: Request| {
        let connections = connections.clone();
        async move { issue(connections, request).await.map_err(poem::Error::from) }
    })
}

async fn upgrade(
    services: Services,
    connections: Arc<Connections>,
    request: Request,
) -> Result<Response, Refusal> {
    let identity = identity(&request)?;
    let handshake = Handshake::of(&request)
        .inspect_err(|refusal| refusal.record(&services.metrics, &identity.principal))?;
    let place = match request.extensions().get::<HeldPlace>().and_then(HeldPlace::take) {
        Some(held) => held,
        None => connections.admit(&identity.principal).await?,
    };
    place.comes_from(identity.address);
    // The client's side was right, so what is missing here is an HTTP version that can be upgraded.
    let upgrade = request.take_upgrade().map_err(|_| Refusal::not_an_upgrade())?;

    let span = info_span!(
        parent: None,
        "socket",
        connection_id = %place.id(),
        client = place.principal().log_name(),
        request_id = %identity.request_id,
    );
    let shutdown = services.shutdown.clone();
    // What opening a socket takes is given back once it is open.
    let opened = Box::pin(open(services, identity, place, upgrade, traces::current()));
    let served = async move {
        if let Some(session) = opened.await {
            session.run().await;
        }
    };
    shutdown.spawn(served.instrument(span));
    Ok(handshake.accept())
}

/// The socket that the request becomes, unless the client is gone before.
async fn open(
    services: Services,
    identity: Identity,
    place: Place,
    upgrade: OnUpgrade,
    upgraded_by: Option<TraceContext>,
) -> Option<Box<Session>> {
    let upgraded = match timeout(UPGRADE_TIMEOUT, upgrade).await {
        Ok(Ok(upgraded)) => upgraded,
        // Dropping the place gives it back.
        Ok(Err(_)) | Err(_) => {
            debug!("the client left before the upgrade was done");
            return None;
        }
    };
    let config = socket_config(&services.config);
    let stream = WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await;
    let wire = Wire::new(stream, &services);
    Some(Box::new(Session::new(services, identity, place.open(), wire, upgraded_by)))
}

/// Small buffers, because most sockets are idle: the default of 128 KiB is paid by each of them. A frame of a client is rarely
/// larger than the first, and makes it grow if it is. Events that are there at once go out together, up to the second; what is
/// sent alone is flushed. The largest event is a whole reply.
fn socket_config(config: &Config) -> WebSocketConfig {
    let (max_message, max_event) = (config.server.max_body.0, config.turns.max_bytes.0);
    WebSocketConfig::default()
        .read_buffer_size(1024)
        .write_buffer_size(8192)
        .max_write_buffer_size(max_message + max_event)
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message))
}

async fn issue(connections: Arc<Connections>, request: Request) -> Result<Response, Refusal> {
    let Identity { principal, grant, .. } = identity(&request)?;
    let ticket = connections.ticket(&principal, grant).await?;
    let body = Json(json!({ "ticket": ticket.text, "expires_at": ticket.expires_at }));
    let location = format!("{PATH}?ticket={}", ticket.text);
    Ok(body
        .with_header(LOCATION, location)
        .with_header(CACHE_CONTROL, "no-store")
        .with_status(StatusCode::CREATED)
        .into_response())
}

/// Who asks: the edge has put it into every request.
fn identity(request: &Request) -> Result<Identity, Refusal> {
    let identity = request.extensions().get::<Identity>().cloned();
    identity.ok_or_else(|| {
        let failure = Failure::new(ErrorCode::Internal, "The log of the server knows more.");
        tracing::error!(
            event = "request_failed",
            "a request came to the socket without an identity: its route is not behind the edge"
        );
        Refusal::new(failure, None)
    })
}
