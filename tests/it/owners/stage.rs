use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use poem::endpoint::{DynEndpoint, ToDynEndpoint};
use poem::http::uri::Scheme;
use poem::http::{HeaderMap, Method, StatusCode};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint as _, EndpointExt as _, Response};
use polylogue::app::{Connected, Seams, connect_redis};
use polylogue::connections::Connections;
use polylogue::http::management::{Management, StatusBoard};
use polylogue::http::problem::Problem;
use polylogue::http::roster::Roster;
use polylogue::http::{self, Gate, Health, Identity};
use polylogue::limits::Leases;
use polylogue::telemetry::metrics::{IdentifiedBy, Metrics};
use polylogue::words::{ClientAddress, Principal, ReplicaId, RequestId};
use serde_json::Value;
use tokio::io::DuplexStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::redis::RedisServer;
use crate::support::{TestApp, config};

type Door = Arc<dyn DynEndpoint<Output = Response>>;

/// Two replicas that share everything.
pub struct Service {
    pub here: Replica,
    pub there: Replica,
    pub redis: Option<RedisServer>,
}

impl Service {
    pub async fn local() -> Self {
        let seams = Seams::local(&config(|_| ()), &ReplicaId::random(), &Arc::new(Metrics::new()));
        let replica = || Replica::on(seams.clone(), None);
        Self { here: replica().await, there: replica().await, redis: None }
    }

    pub async fn on_redis() -> Self {
        let redis = RedisServer::start().await;
        let replica = || Replica::of(&redis);
        Self { here: replica().await, there: replica().await, redis: Some(redis) }
    }

    pub fn replicas(&self) -> [&Replica; 2] {
        [&self.here, &self.there]
    }
}

/// A replica whose doors are told who asks.
pub struct Replica {
    pub app: TestApp,
    management: Management,
    door: Door,
    connected: Option<Connected>,
}

/// What somebody was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// All of it but what is different for every request.
    pub fn without_request(&self) -> (StatusCode, Value) {
        let mut body = self.body.clone();
        if let Some(members) = body.as_object_mut() {
            members.remove("instance");
            members.remove("request_id");
        }
        (self.status, body)
    }

    /// The turn that was begun or found.
    pub fn turn(&self) -> String {
        self.headers["Turn-Id"].to_str().unwrap().to_owned()
    }
}

impl Replica {
    async fn of(redis: &RedisServer) -> Self {
        let (config, metrics) =
            (config(|config| config.redis.url = Some(redis.url().into())), Arc::new(Metrics::new()));
        let connected = connect_redis(&config, &metrics).unwrap().unwrap();
        let seams = Seams::new(&config, &ReplicaId::random(), &metrics, Some(&connected));
        Self::on(seams, Some(connected)).await
    }

    async fn on(seams: Seams, connected: Option<Connected>) -> Self {
        let (config, metrics, replica) = (config(|_| ()), Arc::new(Metrics::new()), ReplicaId::random());
        let leases: Arc<dyn Leases> = Arc::clone(&seams.leases);
        let app = TestApp::on(config.clone(), replica.clone(), seams, Arc::clone(&metrics)).await;
        let services = app.app.services();
        let connections =
            Connections::start(&config, leases, Arc::clone(&metrics), services.shutdown.clone());
        let api = http::api(services, &connections).data(services.clone());
        let api = api.catch_all_error(async |error| Problem::answer_to(error, &RequestId::random(), &[]));
        let door: Door = Arc::new(ToDynEndpoint(api.map_to_response()));
        let roster = Roster::new(Arc::clone(&connections), replica);
        let (gate, board) = (Gate::new(Some(&"open sesame".into())), Arc::new(StatusBoard::new()));
        let management = Management::new(Arc::new(Health::new()), metrics, board, gate);
        Self { app, management: management.with_sockets(roster), door, connected }
    }

    pub async fn get(&self, principal: &str, path: &str) -> Answer {
        self.ask(principal, Method::GET, path, &[], None).await
    }

    pub async fn delete(&self, principal: &str, path: &str) -> Answer {
        self.ask(principal, Method::DELETE, path, &[], None).await
    }

    pub async fn post(&self, principal: &str, path: &str, body: Value) -> Answer {
        self.ask(principal, Method::POST, path, &[], Some(body)).await
    }

    /// Asks as the edge would have somebody ask.
    pub async fn ask(
        &self,
        principal: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let mut request =
            poem::Request::builder().method(method).uri(format!("/api/v1{path}").parse().unwrap());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = match body {
            Some(body) => request.content_type("application/json").body(body.to_string()),
            None => request.finish(),
        };
        request.extensions_mut().insert(identity(principal));
        answered(self.door.get_response(request).await).await
    }

    /// What the management port answers to an operator.
    pub async fn manage(&self, method: Method, path: &str) -> Answer {
        self.manage_with("open sesame", method, path).await
    }

    /// What it answers to whoever shows this token.
    pub async fn manage_with(&self, token: &str, method: Method, path: &str) -> Answer {
        let request = poem::Request::builder().method(method).uri_str(path);
        let request = request.header("authorization", format!("Bearer {token}")).finish();
        answered(self.management.get_response(request).await).await
    }

    /// Opens a socket of somebody.
    #[expect(clippy::disallowed_methods, reason = "the test's own accept loop ends with the test")]
    pub async fn socket(&self, principal: &str) -> Socket {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let (door, principal) = (Arc::clone(&self.door), principal.to_owned());
        let service = service_fn(move |request| {
            let (door, identity) = (Arc::clone(&door), identity(&principal));
            async move {
                let peer = Addr::SocketAddr(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 1));
                let parts = (request, LocalAddr(peer.clone()), RemoteAddr(peer), Scheme::HTTP);
                let mut request = poem::Request::from(parts);
                request.extensions_mut().insert(identity);
                Ok::<_, std::convert::Infallible>(hyper::Response::from(door.get_response(request).await))
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(server), service)
            .with_upgrades();
        tokio::spawn(async move { drop(connection.await) });
        let request = "ws://polylogue/api/v1/chat/ws".into_client_request().unwrap();
        let (stream, _) = client_async(request, client).await.unwrap();
        let mut socket = Socket(stream);
        assert_eq!(socket.next().await["type"], "hello");
        socket
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.app.app.services().shutdown.closing().cancel();
        self.connected.iter().for_each(|connected| connected.keeping.closing().cancel());
    }
}

/// A client's side of a socket.
pub struct Socket(WebSocketStream<DuplexStream>);

impl Socket {
    pub async fn say(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    pub async fn next(&mut self) -> Value {
        loop {
            match timeout(Duration::from_secs(20), self.0.next()).await.expect("the socket is silent") {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no frame but {other:?}"),
            }
        }
    }

    /// The next frame of this type.
    pub async fn until(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    /// Reads to the end: the close code and reason.
    pub async fn end(&mut self) -> (u16, String) {
        loop {
            let next =
                timeout(Duration::from_secs(20), self.0.next()).await.expect("the socket does not end");
            if let Message::Close(Some(frame)) = next.expect("it says how it ends").unwrap() {
                return (frame.code.into(), frame.reason.to_string());
            }
        }
    }
}

async fn answered(response: Response) -> Answer {
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.into_body().into_string().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or_default();
    Answer { status, headers, body }
}

fn identity(principal: &str) -> Identity {
    let principal: Principal = principal.parse().unwrap();
    let address = match &principal {
        Principal::Address(address) => *address,
        Principal::Key(_) | Principal::Subject(_) => ClientAddress::from(IpAddr::from([192, 0, 2, 1])),
    };
    let (request_id, identified_by) = (RequestId::random(), IdentifiedBy::Connection);
    Identity { request_id, address, identified_by, principal, grant: None, arrived: Instant::now() }
}
