//! The service, started in the test, and clients for it.

mod documented;
mod http;
mod socket;
mod sse;

use std::sync::Arc;

use polylogue::app::{App, Seams};
use polylogue::config::Config;
use polylogue::flags::Flags;
use polylogue::http::Services;
use polylogue::shutdown::Shutdown;
use polylogue::simulator::Controls;
use polylogue::telemetry::metrics::Metrics;
use polylogue::words::ReplicaId;
use serde_json::Value;

pub use http::Answer;
pub use socket::Socket;
pub use sse::{Sse, SseEvent};

/// A whole service on free ports of loopback, with the simulator as its model.
pub struct TestApp {
    pub app: App,
    pub client: reqwest::Client,
    pub model: Controls,
    pub base: String,
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

    /// Starts it on seams that another one may share.
    pub async fn on(config: Config, replica: ReplicaId, seams: Seams, metrics: Arc<Metrics>) -> Self {
        let app = App::start(config, replica, seams, metrics, Shutdown::new()).await.unwrap();
        let base = format!("http://{}", app.listen());
        let model = app.simulator().expect("the simulator is in use").clone();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { app, client, model, base }
    }

    /// POSTs JSON.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.client.post(self.url(path)).json(&body).send().await.unwrap()).await
    }

    /// POSTs JSON with more headers.
    pub async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let request = self.client.post(self.url(path)).json(body);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Answer::of(request.send().await.unwrap()).await
    }

    /// DELETEs.
    pub async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.client.delete(self.url(path)).send().await.unwrap()).await
    }

    /// GETs.
    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.client.get(self.url(path)).send().await.unwrap()).await
    }

    /// Opens an event stream by starting a turn.
    pub async fn stream(&self, body: Value) -> Sse {
        Sse::of(self.client.post(self.url("/api/v1/chat/stream")).json(&body).send().await.unwrap())
    }

    /// Follows a turn after an event.
    pub async fn resume(&self, turn: &str, after: &str) -> Sse {
        let request = self.client.get(self.url(&format!("/api/v1/turns/{turn}/events")));
        Sse::of(request.header("Last-Event-ID", after).send().await.unwrap())
    }

    /// Opens a socket and takes its hello.
    pub async fn socket(&self) -> Socket {
        Socket::open(&self.app.listen().to_string()).await
    }

    /// The value of a series, as `/metrics` shows it without the prefix; 0 if it is not there.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.app.services().metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix("polylogue_")?.strip_prefix(series));
        line.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    /// The absolute address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

/// What handlers reach for, in process, on a model that nobody can reach: for tests of the edge alone.
pub fn services(config: Config, metrics: &Arc<Metrics>, shutdown: &Shutdown) -> Services {
    let replica = ReplicaId::random();
    let seams = Seams::local(&config, &replica, metrics);
    let nowhere = Some("127.0.0.1:0".parse().unwrap());
    let model = polylogue::llm::connect(&config.llm, nowhere, [], Arc::clone(metrics)).unwrap();
    let flags = Flags::load(None).unwrap();
    polylogue::app::services(config, &replica, &seams, model, flags, metrics, shutdown).unwrap()
}

/// Settings for tests: free ports, a fast model, no limits in the way.
pub fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    let free = "127.0.0.1:0".parse().unwrap();
    (config.server.listen, config.server.management_listen) = (free, free);
    config.simulator.time_to_first_token = span(0);
    config.simulator.token_gap = span(0);
    config.simulator.tokens = 8.try_into().unwrap();
    config.websocket.max_per_client = 1000.try_into().unwrap();
    for policy in config.limits.policies.values_mut() {
        policy.quota = 1_000_000.try_into().unwrap();
    }
    change(&mut config);
    config
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
