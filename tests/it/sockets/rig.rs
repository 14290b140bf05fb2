//! A replica's socket door over in-memory connections: real HTTP, real upgrades, real frames, and time that can be paused.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use poem::http::header::SEC_WEBSOCKET_PROTOCOL;
use poem::http::uri::Scheme;
use poem::http::{HeaderMap, Method, StatusCode};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint, EndpointExt as _, Route, get, post};
use polylogue::config::Config;
use polylogue::connections::Connections;
use polylogue::http::problem::Problem;
use polylogue::http::{HeldPlace, Identity, ws};
use polylogue::limits::{Leases, LocalLeases};
use polylogue::shutdown::Shutdown;
use polylogue::telemetry::metrics::{IdentifiedBy, Metrics};
use polylogue::words::{Principal, RequestId};
use serde_json::Value;
use tokio::io::DuplexStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Bytes that fit between the two sides before a writer waits: what a socket's buffers might hold.
const PIPE: usize = 64 * 1024;

/// One replica.
pub struct Replica {
    pub connections: Arc<Connections>,
    pub metrics: Arc<Metrics>,
    pub shutdown: Shutdown,
    app: Arc<dyn poem::endpoint::DynEndpoint<Output = poem::Response>>,
}

/// A client's side of a socket.
pub struct Client {
    pub stream: WebSocketStream<DuplexStream>,
    pub protocol: Option<String>,
    pub hello: Value,
}

/// What a refused upgrade says.
#[derive(Debug)]
pub struct Refused {
    pub status: StatusCode,
    pub headers: HeaderMap,
}

impl Replica {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::sharing(places(), change)
    }

    /// A replica of a cluster: the places of a principal are counted in `leases`.
    pub fn sharing(leases: Arc<dyn Leases>, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let (metrics, shutdown) = (Arc::new(Metrics::new()), Shutdown::new());
        let connections = Connections::start(&config, leases, metrics.clone(), shutdown.clone());
        let services = crate::support::services(config, &metrics, &shutdown);
        let app = Route::new()
            .at("/api/v1/chat/ws", get(ws::endpoint(services, connections.clone())))
            .at("/api/v1/chat/ws/tickets", post(ws::tickets(connections.clone())))
            .catch_all_error(problem_response);
        let app: Arc<dyn poem::endpoint::DynEndpoint<Output = poem::Response>> =
            Arc::new(poem::endpoint::ToDynEndpoint(app.map_to_response()));
        Self { connections, metrics, shutdown, app }
    }

    /// A connection of the caller at `address`, as the accept loop would serve it.
    #[expect(clippy::disallowed_methods, reason = "the test's own accept loop ends with the test")]
    pub fn connect(&self, address: IpAddr) -> DuplexStream {
        let (client, server) = tokio::io::duplex(PIPE);
        let (app, connections) = (self.app.clone(), self.connections.clone());
        let service = service_fn(move |request| {
            let (app, connections) = (app.clone(), connections.clone());
            async move {
                let peer = Addr::SocketAddr(SocketAddr::new(address, 1));
                let parts = (request, LocalAddr(peer.clone()), RemoteAddr(peer), Scheme::HTTP);
                let mut request = poem::Request::from(parts);
                request.extensions_mut().insert(identity(address));
                if let Some(ticket) = request.uri().query().and_then(|query| query.strip_prefix("ticket=")) {
                    match connections.redeem(ticket).await {
                        Ok(redeemed) => request.extensions_mut().insert(HeldPlace::new(redeemed.place)),
                        Err(_) => {
                            let refused = poem::Response::builder().status(StatusCode::BAD_REQUEST).finish();
                            return Ok(hyper::Response::from(refused));
                        }
                    };
                }
                let response = app.get_response(request).await;
                Ok::<_, std::convert::Infallible>(hyper::Response::from(response))
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(server), service)
            .with_upgrades();
        tokio::spawn(async move { drop(connection.await) });
        client
    }

    /// Opens a socket, offering `protocols`.
    pub async fn open(
        &self,
        caller: IpAddr,
        target: &str,
        protocols: Option<&str>,
    ) -> Result<Client, Refused> {
        let mut request = format!("ws://polylogue{target}").into_client_request().unwrap();
        if let Some(protocols) = protocols {
            request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocols.parse().unwrap());
        }
        match client_async(request, self.connect(caller)).await {
            Ok((mut stream, response)) => {
                let protocol = response.headers().get(SEC_WEBSOCKET_PROTOCOL);
                let protocol = protocol.map(|name| name.to_str().unwrap().to_owned());
                let hello = stream.next().await.unwrap().unwrap();
                let hello = serde_json::from_str(hello.to_text().unwrap()).unwrap();
                Ok(Client { stream, protocol, hello })
            }
            Err(Error::Http(response)) => {
                let (parts, _) = response.into_parts();
                Err(Refused { status: parts.status, headers: parts.headers })
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Opens a socket of the `nth` caller.
    pub async fn socket(&self, nth: u8) -> Client {
        self.try_socket(nth).await.expect("a socket")
    }

    pub async fn try_socket(&self, nth: u8) -> Result<Client, Refused> {
        self.open(caller(nth), "/api/v1/chat/ws", Some("polylogue.v1")).await
    }

    /// Asks for a ticket as the `nth` caller; the answer's status and body.
    pub async fn ticket(&self, nth: u8) -> (StatusCode, Value) {
        let uri = "/api/v1/chat/ws/tickets".parse().unwrap();
        let mut request = poem::Request::builder().method(Method::POST).uri(uri).finish();
        request.extensions_mut().insert(identity(caller(nth)));
        let response = self.app.get_response(request).await;
        let (status, body) = (response.status(), response.into_body().into_bytes().await.unwrap());
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }
}

impl Client {
    pub async fn say(&mut self, text: impl Into<String>) {
        self.stream.send(Message::text(text.into())).await.unwrap();
    }

    /// The next text frame, whatever pings come before it.
    pub async fn frame(&mut self) -> Value {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no frame but {other:?}"),
            }
        }
    }

    /// Sends a frame and reads the answer.
    pub async fn ask(&mut self, text: impl Into<String>) -> Value {
        self.say(text).await;
        self.frame().await
    }

    /// Reads to the end: the close code and reason, or none if the connection just ended.
    pub async fn end(&mut self) -> Option<(u16, String)> {
        let mut end = None;
        while let Some(Ok(message)) = self.stream.next().await {
            if let Message::Close(Some(frame)) = message {
                end = Some((frame.code.into(), frame.reason.to_string()));
            }
        }
        end
    }

    /// Reads for a while, which answers pings; the socket must not end meanwhile.
    pub async fn stay(&mut self, seconds: u64) {
        let ended = timeout(Duration::from_secs(seconds), self.end()).await;
        assert!(ended.is_err(), "the socket ended: {ended:?}");
    }

    /// Whether the socket is still served.
    pub async fn is_alive(&mut self) -> bool {
        let answer = self.ask(r#"{"type":"ping","ref":"alive?"}"#);
        timeout(Duration::from_secs(1), answer).await.is_ok_and(|frame| frame["type"] == "pong")
    }
}

/// A cluster's places for sockets.
pub fn places() -> Arc<LocalLeases> {
    Arc::new(LocalLeases::new(Arc::new(Metrics::new())))
}

/// The address of the `nth` caller.
pub fn caller(nth: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, nth).into()
}

fn identity(address: IpAddr) -> Identity {
    Identity {
        request_id: RequestId::random(),
        address: address.into(),
        identified_by: IdentifiedBy::Connection,
        principal: Principal::Address(address.into()),
        grant: None,
        arrived: Instant::now(),
    }
}

/// What the edge's outermost layer does, in short: the status, the headers of the refusal, and the code as body.
async fn problem_response(error: poem::Error) -> poem::Response {
    let code = error.data::<Problem>().map_or("none", |problem| problem.failure.code.as_str());
    let mut response = poem::Response::builder().status(error.status()).header("Problem-Code", code).body(());
    response.headers_mut().extend(error.data::<HeaderMap>().cloned().unwrap_or_default());
    response
}
