//! The service, started in the test, and clients for it.

mod certificates;
mod child;
mod client;
pub mod collector;
mod documented;
mod http;
mod log;
pub mod ports;
mod program;
pub mod redis;
pub mod replicas;
mod scratch;
mod slow_memory;
mod socket;
mod sse;

use std::ops::Deref;
use std::sync::Arc;

pub use certificates::{Certificates, Pair};
pub use child::OwnProcess;
pub use client::Client;
pub use http::Answer;
pub use log::Log;
use polylogue::app::{App, Cast, Seams};
use polylogue::chat::Personas;
use polylogue::config::Config;
use polylogue::flags::Flags;
use polylogue::http::Services;
use polylogue::shutdown::Shutdown;
use polylogue::simulator::{Controls, Rule};
use polylogue::telemetry::metrics::Metrics;
use polylogue::words::ReplicaId;
pub use program::{model, polylogue};
pub use scratch::{Folder, Scratch};
pub use slow_memory::SlowMemory;
pub use socket::Socket;
pub use sse::{Sse, SseEvent};

/// A whole service on free ports of loopback, with the simulator as its model, and somebody who calls it.
pub struct TestApp {
    pub app: App,
    pub caller: Client,
    pub model: Controls,
}

impl TestApp {
    /// Starts it with a fast model and without limits that would get in a test's way.
    pub async fn start() -> Self {
        Self::with(|_| ()).await
    }

    /// Starts it with other settings.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let (config, replica, metrics) = (config(change), ReplicaId::random(), Arc::new(Metrics::new()));
        let seams = Seams::local(&config, &replica, &metrics);
        Self::on(config, replica, seams, metrics).await
    }

    /// Starts it with a memory that keeps writers waiting.
    pub async fn with_slow_memory() -> (Self, Arc<SlowMemory>) {
        let (config, replica, metrics) = (config(|_| ()), ReplicaId::random(), Arc::new(Metrics::new()));
        let mut seams = Seams::local(&config, &replica, &metrics);
        let slow = SlowMemory::before(Arc::clone(&seams.memory));
        seams.memory = Arc::clone(&slow) as _;
        (Self::on(config, replica, seams, metrics).await, slow)
    }

    /// Starts it on seams that another one may share.
    pub async fn on(config: Config, replica: ReplicaId, seams: Seams, metrics: Arc<Metrics>) -> Self {
        let app = App::start(config, replica, seams, None, metrics, Shutdown::new()).await.unwrap();
        let model = app.simulator().expect("the simulator is in use").clone();
        let caller = Client::of(&app.listen().to_string());
        Self { app, caller, model }
    }

    /// The value of a series, as `/metrics` shows it without the prefix; 0 if it is not there.
    pub fn metric(&self, series: &str) -> f64 {
        metric(&self.app.services().metrics.render(), series)
    }
}

impl Deref for TestApp {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.caller
    }
}

/// The value of a series in what `/metrics` shows, named without the prefix; 0 if it is not there.
pub fn metric(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix("polylogue_")?.strip_prefix(series));
    line.map_or(0.0, |value| value.trim().parse().unwrap())
}

/// What handlers reach for, in process, on a model that nobody can reach: for tests of the edge alone.
pub fn services(config: Config, metrics: &Arc<Metrics>, shutdown: &Shutdown) -> Services {
    let replica = ReplicaId::random();
    let seams = Seams::local(&config, &replica, metrics);
    let nowhere = Some("127.0.0.1:0".parse().unwrap());
    let model = polylogue::llm::connect(&config.llm, nowhere, [], Arc::clone(metrics)).unwrap();
    let flags = Flags::load(None).unwrap();
    let personas = Arc::new(Personas::load(None, None).unwrap());
    let cast = Cast { personas, model, flags };
    polylogue::app::services(config, &replica, &seams, cast, metrics, shutdown).unwrap()
}

/// Settings for tests: free ports, a fast model, no limits in the way.
pub fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    let free = "127.0.0.1:0".parse().unwrap();
    (config.server.listen, config.server.management_listen) = (free, free);
    config.simulator.time_to_first_token = span(0);
    config.simulator.token_gap = span(0);
    config.simulator.tokens = 8.try_into().unwrap();
    // Hundreds of tests at once are more than this machine has time for.
    config.turns.max_delay = span(0);
    // Everybody here comes from one address.
    config.server.max_connections_per_address = 0;
    config.websocket.max_per_client = 1000.try_into().unwrap();
    for policy in config.limits.policies.values_mut() {
        policy.quota = 1_000_000.try_into().unwrap();
    }
    change(&mut config);
    config
}

/// What a built-in persona says, and nobody else does.
pub fn says<T: Into<String>>(persona: &str, tokens: impl IntoIterator<Item = T>) -> Rule {
    Rule::says(tokens).when_contains(match persona {
        "guide" => "You are Guide",
        "skeptic" => "You are Skeptic",
        "historian" => "You are Historian",
        other => panic!("{other} is not built in"),
    })
}

/// So many milliseconds.
pub fn span(milliseconds: u64) -> polylogue::config::Span {
    polylogue::config::Span(std::time::Duration::from_millis(milliseconds))
}

/// Waits until something holds, for at most ten seconds.
pub async fn eventually(claim: &str, mut holds: impl AsyncFnMut() -> bool) {
    let tries = async {
        while !holds().await {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), tries)
        .await
        .unwrap_or_else(|_| panic!("never so: {claim}"));
}
