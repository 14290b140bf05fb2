//! A server with a small API behind the real edge.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use poem::http::StatusCode;
use poem::web::websocket::WebSocket;
use poem::{Body, IntoResponse as _, Response, Route, get, handler};
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi, OpenApiService};
use polylogue::config::Config;
use polylogue::connections::Connections;
use polylogue::http::{Documents, Edge, Health, RouteTable, Services, accept, public};
use polylogue::limits::{LocalLeases, LocalLimiter, RateLimits};
use polylogue::shutdown::Shutdown;
use polylogue::telemetry::metrics::Metrics;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::raw::Client;

/// What handlers of the demo let tests see and steer.
#[derive(Clone, Default)]
pub struct Stage {
    /// Handlers and streams that are alive.
    pub alive: Arc<AtomicUsize>,
    /// Lets `/slow` answer.
    pub go_on: Arc<Notify>,
}

struct Alive(Arc<AtomicUsize>);

impl Stage {
    fn enter(&self) -> Alive {
        self.alive.fetch_add(1, Ordering::SeqCst);
        Alive(self.alive.clone())
    }

    pub fn alive(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Object)]
#[oai(deny_unknown_fields)]
struct Said {
    text: String,
}

struct Demo(Stage);

#[OpenApi]
impl Demo {
    #[oai(path = "/echo", method = "post")]
    async fn echo(&self, said: Json<Said>) -> Json<Said> {
        said
    }

    #[oai(path = "/items/:id", method = "get")]
    async fn item(&self, id: Path<u32>, limit: Query<Option<u32>>) -> Json<u32> {
        Json(id.0 + limit.0.unwrap_or_default())
    }

    #[oai(path = "/large", method = "get")]
    async fn large(&self) -> Json<String> {
        Json("all work and no play ".repeat(500))
    }

    #[oai(path = "/panic", method = "get")]
    async fn panic(&self) {
        panic!("hunter2");
    }

    #[oai(path = "/fault", method = "get")]
    async fn fault(&self) -> poem::Result<()> {
        Err(poem::Error::from_string("hunter2", StatusCode::INTERNAL_SERVER_ERROR))
    }

    #[oai(path = "/bare", method = "get")]
    async fn bare(&self) -> poem::Result<()> {
        Err(poem::Error::from_response(StatusCode::CONFLICT.into_response()))
    }

    #[oai(path = "/slow", method = "get")]
    async fn slow(&self) -> Json<u32> {
        let _alive = self.0.enter();
        self.0.go_on.notified().await;
        Json(1)
    }
}

#[handler]
fn socket(socket: WebSocket) -> impl poem::IntoResponse {
    socket.on_upgrade(|_| async {})
}

/// An event at once, and then silence for ever.
fn endless(stage: &Stage) -> Response {
    let alive = stage.enter();
    let first = stream::once(async { Ok::<_, std::io::Error>("data: 1\n\n") });
    let silence = stream::pending().map(move |it| {
        let _ = &alive;
        it
    });
    Response::builder().content_type("text/event-stream").body(Body::from_bytes_stream(first.chain(silence)))
}

fn torn() -> Response {
    let first = stream::once(async { Ok("half of") });
    let rest = stream::once(async {
        tokio::task::yield_now().await;
        Err(std::io::Error::other("gone"))
    });
    Response::builder().body(Body::from_bytes_stream(first.chain(rest)))
}

fn api(stage: Stage) -> Route {
    let demo = OpenApiService::new(Demo(stage.clone()), "Demo", "1");
    let stream = poem::endpoint::make_sync(move |_| endless(&stage));
    Route::new()
        .nest("/api/v1", demo)
        .at("/api/v1/stream", get(stream))
        .at("/api/v1/torn", get(poem::endpoint::make_sync(|_| torn())))
        .at("/api/v1/ws", get(socket))
}

fn routes() -> RouteTable {
    let table = RouteTable::new().api::<Demo>("/api/v1");
    let more = ["/api/v1/stream", "/api/v1/torn", "/api/v1/ws"];
    more.iter().fold(table, |table, path| table.at(path, [http::Method::GET]))
}

fn services(config: Config, routes: &RouteTable) -> Services {
    let metrics: Arc<Metrics> = Arc::default();
    let (limiter, operations) = (Arc::new(LocalLimiter::new()), routes.limited_operations());
    let limits = RateLimits::new(&config.limits, &operations, limiter, metrics.clone()).unwrap();
    let plain = Config { limits: Config::default().limits, ..config.clone() };
    let services = crate::support::services(plain, &metrics, &Shutdown::new());
    Services { config: Arc::new(config), limits: Arc::new(limits), ..services }
}

fn documents() -> Documents {
    let openapi = format!("{{\"openapi\":\"3.1.0\",\"x-filler\":\"{}\"}}", "a".repeat(3000));
    Documents { openapi: openapi.into(), openapi_3_0: "{}".into(), asyncapi: "asyncapi: 3.0.0\n".into() }
}

/// A running server.
pub struct Server {
    pub address: SocketAddr,
    pub services: Services,
    pub stage: Stage,
    pub serving: tokio::task::JoinHandle<()>,
}

impl Server {
    pub async fn start() -> Self {
        Self::configured(|_| {}).await
    }

    pub async fn configured(change: impl FnOnce(&mut Config)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (app, services, stage) = app(change);
        let watched = accept::Watched {
            metrics: services.metrics.clone(),
            health: services.health.clone(),
            pressure: services.admission.pressure().clone(),
        };
        let settings = accept::Settings::public(&services.config.server);
        let serving = accept::serve(listener, app, settings, Some(watched), services.shutdown.clone());
        #[expect(clippy::disallowed_methods, reason = "a test waits for the server itself")]
        let serving = tokio::spawn(serving);
        Self { address, services, stage, serving }
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn metrics(&self) -> &Metrics {
        &self.services.metrics
    }

    pub fn health(&self) -> &Health {
        &self.services.health
    }
}

/// The demo API behind the edge, without a port.
pub fn app(change: impl FnOnce(&mut Config)) -> (Edge<Route>, Services, Stage) {
    let mut config = Config::default();
    change(&mut config);
    let routes = routes();
    let (services, stage) = (services(config, &routes), Stage::default());
    let (metrics, shutdown) = (services.metrics.clone(), services.shutdown.clone());
    let leases = Arc::new(LocalLeases::new(metrics.clone()));
    let connections = Connections::new(&services.config, leases, metrics, shutdown);
    (public(&services, &connections, api(stage.clone()), routes, documents()), services, stage)
}

/// Waits until `condition` holds, and fails when that takes longer than anything here may.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}
