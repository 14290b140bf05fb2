//! The composition root: the only file that names adapters.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::json;
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::chat::{Chat, Parts, Personas};
use crate::config::Config;
use crate::connections::Connections;
use crate::exit::Failed;
use crate::flags::Flags;
use crate::fleet::{LocalFleet, LocalPresence, Presence};
use crate::http::accept::{self, Watched};
use crate::http::management::{Management, StatusBoard};
use crate::http::{Documents, Health, Services, api, document, asyncapi};
use crate::limits::{Leases, Limiter, LocalLeases, LocalLimiter, RateLimits};
use crate::llm::{self, Upstreams};
use crate::memory::{LocalMemory, Measured, Memory};
use crate::shutdown::{Sequence, Shutdown};
use crate::simulator::{self, Controls, Simulator};
use crate::telemetry::metrics::{Backend, Metrics};
use crate::turnlog::{LiveTurns, LocalTurnLog, TurnLog};
use crate::words::ReplicaId;

/// Where state lives. Replicas that share these are one service.
#[derive(Clone)]
pub struct Seams {
    /// Who this replica is.
    pub replica: ReplicaId,
    /// Turns.
    pub log: Arc<dyn TurnLog>,
    /// Conversations.
    pub memory: Arc<dyn Memory>,
    /// Limits.
    pub limiter: Arc<dyn Limiter>,
    /// Places for sockets.
    pub leases: Arc<dyn Leases>,
    /// Who is alive.
    pub presence: Arc<dyn Presence>,
}

impl Seams {
    /// Everything in this process.
    pub fn local(config: &Config, metrics: &Arc<Metrics>) -> Self {
        let replica = ReplicaId::random();
        let memory = LocalMemory::new(&config.memory, Arc::clone(metrics));
        let presence = LocalPresence::new(Arc::new(LocalFleet::new()), replica.clone(), *config.turns.lease);
        Self {
            replica,
            log: Arc::new(LocalTurnLog::new(config.turns.clone())),
            memory: Arc::new(Measured::new(memory, Backend::Local, Arc::clone(metrics))),
            limiter: Arc::new(LocalLimiter::new()),
            leases: Arc::new(LocalLeases::new(Arc::clone(metrics))),
            presence: Arc::new(presence),
        }
    }
}

/// A running service.
pub struct App {
    listen: SocketAddr,
    management_listen: SocketAddr,
    services: Services,
    connections: Arc<Connections>,
    simulator: Option<Simulator>,
    replica: ReplicaId,
}

impl App {
    /// Starts everything, in the order of `design.md` §8; returns when it is ready.
    pub async fn start(
        config: Config,
        metrics: Arc<Metrics>,
        seams: Seams,
        shutdown: Shutdown,
    ) -> anyhow::Result<Self> {
        let config = Arc::new(config);
        let personas = Arc::new(load_personas(&config)?);
        let flags = Flags::load(config.flags.file.as_deref()).map_err(Failed::config)?;
        let simulator = start_simulator(&config, &shutdown).await?;
        let model = connect(&config, &personas, simulator.as_ref(), &metrics)?;
        shutdown.spawn(Arc::clone(&flags).watch(shutdown.clone(), Arc::clone(&metrics)));

        let limits = RateLimits::new(&config.limits, &api::operations(), seams.limiter, Arc::clone(&metrics));
        let limits = Arc::new(limits.map_err(Failed::config)?);
        let log = Arc::clone(&seams.log);
        let live = LiveTurns::new(log, config.turns.clone(), Arc::clone(&metrics), shutdown.clone());
        let parts = Parts {
            personas,
            model: Arc::clone(&model) as _,
            memory: seams.memory,
            log: seams.log,
            live,
            flags,
            metrics: Arc::clone(&metrics),
            shutdown: shutdown.clone(),
            replica: seams.replica.clone(),
        };
        let chat = Arc::new(Chat::new(&config, parts)?);
        shutdown.spawn(Arc::clone(&chat).tend(seams.presence));

        let connections = Connections::start(&config, seams.leases, Arc::clone(&metrics), shutdown.clone());
        let health = Arc::new(Health::new());
        let services = Services { config, chat, limits, metrics, health, shutdown };
        let board = status_board(&services, &connections, &model, simulator.is_some(), &seams.replica);
        let (listen, management_listen) = listen(&services, &connections, board).await?;
        let app = Self { listen, management_listen, services, connections, simulator, replica: seams.replica };
        app.ready();
        Ok(app)
    }

    fn ready(&self) {
        self.services.health.started();
        info!(
            event = "application_ready",
            listen = %self.listen,
            management_listen = %self.management_listen,
            replica = %self.replica,
            docs = format!("http://{}/docs", self.listen),
            "ready"
        );
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
        self.simulator.as_ref().map(|simulator| &simulator.controls)
    }

    /// Everything a handler may use.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Stops in the order of `design.md` §8, once somebody asked for it; true if everything ended in time.
    pub async fn stopped(self) -> bool {
        let Self { services, connections, .. } = self;
        let sequence = Sequence::asked(services.shutdown.clone(), (&services.config.server).into()).await;
        info!(event = "application_shutting_down", "stopping");
        services.health.draining();
        sequence.draining().await;
        let closing = sequence.closing();
        closing.until("turns", services.chat.idle()).await;
        closing.until("sockets", connections.stopped()).await;
        info!(event = "llm_manager_shutdown", "the model is not asked any more");
        let ended = closing.ending().await;
        info!(event = "application_stopped", in_time = ended, "stopped");
        ended
    }
}

/// Runs the service until it is asked to stop.
pub async fn serve(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new());
    let seams = Seams::local(&config, &metrics);
    info!(event = "application_starting", version = env!("CARGO_PKG_VERSION"), replica = %seams.replica, "starting");
    let app = App::start(config, metrics, seams, shutdown).await?;
    app.stopped().await;
    Ok(())
}

/// A turn's flow as a Mermaid diagram.
pub fn graph() -> anyhow::Result<String> {
    let config = Config::default();
    let metrics = Arc::new(Metrics::new());
    let personas = Arc::new(Personas::load(None, None)?);
    let seams = Seams::local(&config, &metrics);
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let shutdown = Shutdown::new();
    let parts = Parts {
        model: llm::connect(&config.llm, Some(nowhere), [], Arc::clone(&metrics))?,
        live: LiveTurns::new(Arc::clone(&seams.log), config.turns.clone(), Arc::clone(&metrics), shutdown.clone()),
        personas,
        memory: seams.memory,
        log: seams.log,
        flags: Flags::load(None)?,
        metrics,
        shutdown,
        replica: seams.replica,
    };
    Ok(Chat::new(&config, parts)?.mermaid())
}

/// The document of the HTTP API.
pub fn openapi_31() -> serde_json::Value {
    document::openapi_31()
}

/// Its twin for generators that read nothing newer.
pub fn openapi_30() -> serde_json::Value {
    document::openapi_30()
}

/// The document of the socket.
pub fn asyncapi() -> String {
    asyncapi::yaml()
}

/// Runs the simulator alone, until it is asked to stop.
pub async fn simulate_llm(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    simulator::run(&config.simulator, shutdown).await.map_err(Failed::unavailable)?;
    Ok(())
}
