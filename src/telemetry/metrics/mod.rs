//! Every metric of the program. A metric's doc comment is its help text; label values are enums or names known at
//! the start, so the number of series is a product of what can be counted. The catalogue is `observability.md`.

pub mod catalogue;
mod conventions;
mod edge;
mod family;
mod labels;
mod model;
mod reloads;
mod series;
mod shape;
mod state;
mod turns;

pub use edge::{Auth, Connections, Http, RateLimit, Sse, WebSocket};
pub use family::{Counter, Gauge, Held, Histogram, Label, Labels, Name};
pub use labels::*;
pub use model::{Breakers, Model, Routing};
use prometheus::process_collector::ProcessCollector;
use prometheus::{Registry, TextEncoder};
pub use state::{Leases, Memory, Process, Redis, TurnLog};
pub use turns::Turns;

use super::output::DROPPED;

/// The commit this program was built from, as the build said.
pub const REVISION: &str = match option_env!("POLYLOGUE_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// All families of one process. Made once; two servers in one process have two.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// `process_*`, which carry no prefix: dashboards of every language know them by these names.
    bare: Registry,
    /// Requests.
    pub http: Http,
    /// TCP connections.
    pub connections: Connections,
    /// Event streams.
    pub sse: Sse,
    /// Sockets.
    pub websocket: WebSocket,
    /// Credentials.
    pub auth: Auth,
    /// Limit decisions.
    pub rate_limit: RateLimit,
    /// Circuits.
    pub breakers: Breakers,
    /// Turns and replies.
    pub turns: Turns,
    /// Choosing who answers.
    pub routing: Routing,
    /// Calls of the model.
    pub model: Model,
    /// Redis.
    pub redis: Redis,
    /// Conversations.
    pub memory: Memory,
    /// Turn logs.
    pub turn_log: TurnLog,
    /// Leases.
    pub leases: Leases,
    /// The process itself.
    pub process: Process,
}

impl Metrics {
    /// Registers every family in a registry of its own.
    #[expect(clippy::expect_used, reason = "two metrics of one name are a bug that the first test shows")]
    pub fn new() -> Self {
        let registry =
            Registry::new_custom(Some("polylogue".into()), None).expect("the prefix is a metric name");
        registry.register(Box::new(DROPPED.clone())).expect("a new metric");
        let bare = Registry::new();
        bare.register(Box::new(ProcessCollector::for_self())).expect("a new metric");
        let process = Process::register(&registry);
        process.build_info.set(&(env!("CARGO_PKG_VERSION").into(), REVISION.into()), 1);
        Self {
            http: Http::register(&registry),
            connections: Connections::register(&registry),
            sse: Sse::register(&registry),
            websocket: WebSocket::register(&registry),
            auth: Auth::register(&registry),
            rate_limit: RateLimit::register(&registry),
            breakers: Breakers::register(&registry),
            turns: Turns::register(&registry),
            routing: Routing::register(&registry),
            model: Model::register(&registry),
            redis: Redis::register(&registry),
            memory: Memory::register(&registry),
            turn_log: TurnLog::register(&registry),
            leases: Leases::register(&registry),
            process,
            registry,
            bare,
        }
    }

    /// Everything in Prometheus' text format 0.0.4.
    pub fn render(&self) -> String {
        self.look_at_runtime();
        let encoder = TextEncoder::new();
        let mut text = encoder.encode_to_string(&self.registry.gather()).unwrap_or_default();
        text.push_str(&encoder.encode_to_string(&self.bare.gather()).unwrap_or_default());
        text
    }

    /// What is true of the runtime at this moment; nothing outside of one.
    fn look_at_runtime(&self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (runtime, process) = (runtime.metrics(), &self.process);
        process.tokio_workers.set(&(), runtime.num_workers() as i64);
        process.tokio_alive_tasks.set(&(), runtime.num_alive_tasks() as i64);
        process.tokio_global_queue_depth.set(&(), runtime.global_queue_depth() as i64);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_registers_and_renders() {
        let metrics = Metrics::new();
        metrics.turns.total.inc(&(TurnOutcome::Completed,));
        metrics.turns.replies.inc(&(Name::from("historian"), ReplyOutcome::Completed));
        let text = metrics.render();
        assert!(text.contains("polylogue_turns_total{outcome=\"completed\"} 1"), "{text}");
        assert!(
            text.contains("polylogue_replies_total{outcome=\"completed\",persona=\"historian\"} 1"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn the_process_and_its_runtime_are_measured() {
        let text = Metrics::new().render();
        for name in [
            "\nprocess_resident_memory_bytes ",
            "\nprocess_open_fds ",
            "\npolylogue_tokio_workers 1\n",
            "\npolylogue_telemetry_dropped_total{signal=\"logs\"} ",
            "\npolylogue_build_info{revision=",
        ] {
            assert!(text.contains(name), "{name} is not in\n{text}");
        }
    }
}
