//! The composition root: the only module that names adapters.

mod seams;
mod status;

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;
use tokio::net::TcpListener;
use tracing::{error, info};

pub use seams::{Connected, Seams, connect_redis};
use status::{show_redis, status_board};

use crate::auth::Authenticator;
use crate::chat::{Chat, Parts, Personas};
use crate::config::{self, Config};
use crate::connections::Connections;
use crate::exit::Failure;
use crate::flags::Flags;
use crate::http::accept::{self, Tls, Watched};
use crate::http::management::{Management, StatusBoard};
use crate::http::roster::Roster;
use crate::http::{self, Admission, Documents, Gate, Health, Services, asyncapi, document};
use crate::limits::RateLimits;
use crate::llm::{self, ChatModel, Upstreams};
use crate::resilience::Pressure;
use crate::shutdown::{Sequence, Shutdown, end_part};
use crate::simulator::{self, Controls, Simulator};
use crate::telemetry::Chain;
use crate::telemetry::metrics::{Metrics, TlsPort};
use crate::turnlog::LiveTurns;
use crate::words::ReplicaId;

/// Who speaks, by which model, and what is switched on.
pub struct Cast {
    /// Who can be asked.
    pub personas: Arc<Personas>,
    /// Who answers for them.
    pub model: Arc<dyn ChatModel>,
    /// What is switched on.
    pub flags: Arc<Flags>,
}

/// Puts together what handlers reach for: the product on these seams, with this cast.
pub fn services(
    config: Config,
    replica: &ReplicaId,
    seams: &Seams,
    cast: Cast,
    metrics: &Arc<Metrics>,
    shutdown: &Shutdown,
) -> Result<Services, Failure> {
    let Cast { personas, model, flags } = cast;
    let routes = http::routes();
    let (limiter, counted) = (Arc::clone(&seams.limiter), Arc::clone(metrics));
    let limits =
        RateLimits::new(&config.limits, &routes.limited_operations(), limiter, counted).map_err(wrong)?;
    let policies: Vec<_> = config.limits.policies.keys().map(String::as_str).collect();
    let auth = Authenticator::start(&config.auth, &policies, metrics, shutdown).map_err(wrong)?;
    let (log, turns) = (Arc::clone(&seams.log), config.turns.clone());
    let parts = Parts {
        personas,
        model,
        memory: Arc::clone(&seams.memory),
        log: Arc::clone(&log),
        live: LiveTurns::new(log, turns, Arc::clone(metrics), shutdown.clone()),
        flags,
        metrics: Arc::clone(metrics),
        shutdown: shutdown.clone(),
        replica: replica.clone(),
    };
    let chat = Arc::new(Chat::new(&config, parts).map_err(|error| bug(error.as_ref()))?);
    let pressure = Arc::new(Pressure::new(*config.turns.max_delay));
    Ok(Services {
        admission: Arc::new(Admission::new(
            Arc::clone(&chat),
            pressure,
            Arc::clone(metrics),
            shutdown.clone(),
        )),
        chat,
        config: Arc::new(config),
        auth,
        limits: Arc::new(limits),
        metrics: Arc::clone(metrics),
        health: Arc::new(Health::new()),
        shutdown: shutdown.clone(),
    })
}

/// A running service.
pub struct App {
    listen: SocketAddr,
    management_listen: SocketAddr,
    services: Services,
    connections: Arc<Connections>,
    /// Answers until the last turn has ended.
    simulator: Option<(Simulator, Shutdown)>,
    /// What keeps connections to Redis, which answers until the last turn is written.
    state: Option<Shutdown>,
    /// Tells the management port, which answers to the very end, to go.
    management: Shutdown,
}

impl App {
    /// Starts everything, in the order of `design.md` §8; returns when it is ready.
    pub async fn start(
        config: Config,
        replica: ReplicaId,
        seams: Seams,
        redis: Option<Connected>,
        metrics: Arc<Metrics>,
        shutdown: Shutdown,
    ) -> Result<Self, Failure> {
        let simulator = start_simulator(&config).await?;
        let personas = Arc::new(personas(&config)?);
        let address = simulator.as_ref().map(|(simulator, _)| simulator.addr);
        let model = connect(&config, &personas, address, &metrics)?;
        let flags = Flags::load(config.flags.file.as_deref()).map_err(wrong)?;
        shutdown.spawn(Arc::clone(&flags).watch(shutdown.clone(), Arc::clone(&metrics)));
        let cast = Cast { personas, model: Arc::clone(&model) as _, flags };
        let services = services(config, &replica, &seams, cast, &metrics, &shutdown)?;
        shutdown.spawn(Arc::clone(&services.admission).watch());
        shutdown.spawn(Arc::clone(&services.chat).tend(seams.presence, seams.fleet_size));
        let connections = Connections::start(&services.config, seams.leases, metrics, shutdown);
        let board = status_board(&services, &connections, model, simulator.is_some(), &replica);
        if let Some(Connected { redis, .. }) = &redis {
            show_redis(&board, redis.clone());
        }
        let management = Shutdown::new();
        let roster = Roster::new(Arc::clone(&connections), replica);
        let (listen, management_listen) = listen(&services, &connections, board, roster, &management).await?;
        services.health.started();
        let scheme = if services.config.server.tls.pair().is_some() { "https" } else { "http" };
        info!(event = "application_ready", %listen, %management_listen, docs = format!("{scheme}://{listen}/docs"), "ready");
        let state = redis.map(|connected| connected.keeping);
        Ok(Self { listen, management_listen, services, connections, simulator, state, management })
    }

    /// Where the API listens.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Where probes, metrics and `/status` listen.
    pub fn management_listen(&self) -> SocketAddr {
        self.management_listen
    }

    /// The simulator's controls, where it answers instead of a model.
    pub fn simulator(&self) -> Option<&Controls> {
        self.simulator.as_ref().map(|(simulator, _)| &simulator.controls)
    }

    /// Everything a handler may use.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Stops in the order of `design.md` §8, once somebody asked for it; true if everything ended in time.
    pub async fn stopped(self) -> bool {
        let Self { services, connections, simulator, state, management, .. } = self;
        let sequence = Sequence::asked(services.shutdown.clone(), (&services.config.server).into()).await;
        info!(event = "application_shutting_down", "stopping");
        services.health.draining();
        sequence.draining().await;
        let closing = sequence.closing();
        let (_, _, in_time) = tokio::join!(
            closing.until("turns", services.chat.idle()),
            closing.until("sockets", connections.stopped()),
            closing.until("answers", services.shutdown.ended()),
        );
        let ended = closing.ending().await;
        if let Some((_, shutdown)) = simulator {
            end_part("simulator", &shutdown).await;
        }
        info!(event = "llm_manager_shutdown", "the model is not asked any more");
        if let Some(state) = state {
            end_part("redis", &state).await;
        }
        end_part("management", &management).await;
        info!(event = "application_stopped", in_time, ended, "stopped");
        in_time && ended
    }
}

/// Runs the service until `shutdown` is asked for and everything has ended.
pub async fn serve(config: Config, replica: ReplicaId, shutdown: Shutdown) -> Result<(), Failure> {
    info!(event = "application_starting", "starting");
    let metrics = Arc::new(Metrics::new());
    let started = begin(config, replica, metrics, shutdown).await;
    let app = started
        .inspect_err(|failure| error!(event = "application_failed", error = %failure, "not started"))?;
    app.stopped().await;
    Ok(())
}

/// Connects to where state lives and starts the service on it.
async fn begin(
    config: Config,
    replica: ReplicaId,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
) -> Result<App, Failure> {
    let redis = connect_redis(&config, &metrics)?;
    let seams = Seams::new(&config, &replica, &metrics, redis.as_ref());
    App::start(config, replica, seams, redis, metrics, shutdown).await
}

/// Runs the built-in stand-in for a model alone.
pub async fn simulate_llm(settings: config::Simulator, shutdown: Shutdown) -> Result<(), Failure> {
    simulator::run(&settings, shutdown).await.map_err(|error| taken(settings.listen, &error))
}

/// The OpenAPI document, 3.1 or, for generators that read nothing newer, 3.0.
pub fn openapi(three_zero: bool) -> Value {
    if three_zero { document::openapi_30(None) } else { document::openapi_31(None) }
}

/// The AsyncAPI document of the socket.
pub fn asyncapi() -> String {
    asyncapi::yaml(None)
}

/// A turn's flow as a Mermaid diagram. Builds the product as `serve` does, on a model that is never asked.
pub fn graph() -> Result<String, Failure> {
    let (config, replica, metrics) = (Config::default(), ReplicaId::random(), Arc::new(Metrics::new()));
    let seams = Seams::local(&config, &replica, &metrics);
    let personas = Arc::new(personas(&config)?);
    let model = connect(&config, &personas, Some(SocketAddr::from(([127, 0, 0, 1], 0))), &metrics)?;
    let flags = Flags::load(None).map_err(wrong)?;
    let cast = Cast { personas, model, flags };
    Ok(services(config, &replica, &seams, cast, &metrics, &Shutdown::new())?.chat.mermaid())
}

fn personas(config: &Config) -> Result<Personas, Failure> {
    Personas::load(config.personas.file.as_deref(), config.personas.default.as_deref()).map_err(wrong)
}

async fn start_simulator(config: &Config) -> Result<Option<(Simulator, Shutdown)>, Failure> {
    if !llm::needs_simulator(&config.llm) {
        return Ok(None);
    }
    let listener = bind(config.simulator.listen)?;
    let shutdown = Shutdown::new();
    let settings = simulator::Settings::from(&config.simulator);
    let simulator = Simulator::start(settings, listener, &shutdown);
    let simulator = simulator.map_err(|error| taken(config.simulator.listen, &error))?;
    Ok(Some((simulator, shutdown)))
}

fn connect(
    config: &Config,
    personas: &Personas,
    simulator: Option<SocketAddr>,
    metrics: &Arc<Metrics>,
) -> Result<Arc<Upstreams>, Failure> {
    let models = personas.all().iter().filter_map(|persona| persona.model.clone());
    let models = models.chain(config.routing.model.clone());
    llm::connect(&config.llm, simulator, models, Arc::clone(metrics)).map_err(wrong)
}

/// Opens both ports; answers where they are. The management port stops by signals of its own.
async fn listen(
    services: &Services,
    connections: &Arc<Connections>,
    board: Arc<StatusBoard>,
    roster: Roster,
    until: &Shutdown,
) -> Result<(SocketAddr, SocketAddr), Failure> {
    let Services { config, metrics, health, shutdown, admission, .. } = services;
    let public_tls = tls(&config.server.tls, TlsPort::Public, metrics, shutdown)?;
    let management_tls = tls(&config.server.management_tls, TlsPort::Management, metrics, until)?;
    let public = bind(config.server.listen)?;
    let management = bind(config.server.management_listen)?;
    let addresses = (address(&public)?, address(&management)?);

    let public_url = config.server.public_url.as_ref();
    let documents = Documents {
        openapi: document::text(&document::openapi_31(public_url)).into(),
        openapi_3_0: document::text(&document::openapi_30(public_url)).into(),
        asyncapi: asyncapi::yaml(public_url).into(),
    };
    let api = http::api(services, connections);
    let endpoint = http::public(services, connections, api, http::routes(), documents);
    let pressure = Arc::clone(admission.pressure());
    let watched = Watched { metrics: Arc::clone(metrics), health: Arc::clone(health), pressure };
    let settings = accept::Settings::public(&config.server).with_tls(public_tls);
    shutdown.spawn(accept::serve(public, endpoint, settings, Some(watched), shutdown.clone()));

    let gate = Gate::new(config.server.management_token.as_ref());
    let endpoint = Management::new(Arc::clone(health), Arc::clone(metrics), board, gate).with_sockets(roster);
    let settings = accept::Settings::management(&config.server).with_tls(management_tls);
    until.spawn(accept::serve(management, endpoint, settings, None, until.clone()));
    Ok(addresses)
}

/// The certificate of a port, read again when it changes; `None` where TLS is not spoken.
fn tls(
    settings: &config::Tls,
    port: TlsPort,
    metrics: &Arc<Metrics>,
    until: &Shutdown,
) -> Result<Option<Arc<Tls>>, Failure> {
    let tls = Tls::load(settings, port).map_err(wrong)?;
    if let Some(tls) = &tls {
        until.spawn(Arc::clone(tls).watch(until.clone(), Arc::clone(metrics)));
    }
    Ok(tls)
}

fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    accept::listener(address).map_err(|error| taken(address, &error))
}

fn address(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|error| Failure::Unavailable(error.to_string()))
}

fn taken(address: SocketAddr, error: &std::io::Error) -> Failure {
    Failure::Unavailable(format!("{address}: {error}"))
}

/// A file or a setting is wrong.
fn wrong(error: impl std::error::Error) -> Failure {
    Failure::Configuration(Chain(&error).to_string())
}

fn bug(error: &(dyn std::error::Error + 'static)) -> Failure {
    error!(event = "flow_failed", error = %Chain(error), "the flow is wrong");
    Failure::Bug
}
