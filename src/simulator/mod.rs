//! A stand-in for a model server: speaks the OpenAI protocol, says the same to the same prompt, and fails when told to.
//!
//! | path | does |
//! |---|---|
//! | `POST /v1/chat/completions` | answers, streamed or whole, also by `response_format: json_schema` |
//! | `GET /v1/models` | names its one model; it answers to any name |
//! | `GET`, `PUT /simulator/settings` | shows and changes [`Settings`]; a member that is absent stays as it is |
//! | `POST /simulator/continue` | lets paused answers go on |
//! | `GET /simulator/stats` | shows [`Stats`] |

mod answer;
mod api;
mod controls;
mod dice;
mod prose;
mod refusal;
mod request;
mod schema;
mod server;
mod settings;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tracing::info;

pub use controls::{Controls, Seen, Stats};
pub use settings::{Fault, Rule, Settings};

use crate::config;
use crate::shutdown::Shutdown;

/// A running simulator.
#[derive(Clone, Debug)]
pub struct Simulator {
    /// Where it listens.
    pub addr: SocketAddr,
    /// What can be changed and seen.
    pub controls: Controls,
}

impl Simulator {
    /// Answers on `listener` from now on. When `shutdown` closes nothing new is accepted and what runs may end; when it
    /// is hard everything ends. A service whose turns outlive its own closing gives the simulator a [`Shutdown`] of its
    /// own, and closes that one after them.
    pub fn start(settings: Settings, listener: TcpListener, shutdown: &Shutdown) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        let controls = Controls::new(settings);
        let endpoint = api::endpoint(controls.clone());
        shutdown.spawn(server::accept(listener, endpoint, controls.clone(), shutdown.clone()));
        Ok(Self { addr, controls })
    }

    /// What a client takes as its base address.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }
}

/// How long answers may take to end after a stop; a stalled one never does.
const GRACE: Duration = Duration::from_secs(5);

/// Runs a simulator alone, where the settings say, until it is asked to stop and its answers have ended, or 5 s later.
pub async fn run(settings: &config::Simulator, shutdown: Shutdown) -> io::Result<()> {
    let listener = TcpListener::bind(settings.listen).await?;
    let simulator = Simulator::start(Settings::from(settings), listener, &shutdown)?;
    info!(event = "simulator_started", base_url = simulator.base_url(), "simulator listening");
    tokio::select! {
        () = shutdown.asked().cancelled() => shutdown.closing().cancel(),
        () = shutdown.closing().cancelled() => {}
    }
    if tokio::time::timeout(GRACE, shutdown.ended()).await.is_err() {
        shutdown.hard().cancel();
        shutdown.ended().await;
    }
    Ok(())
}
