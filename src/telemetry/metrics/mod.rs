//! Every metric of the program. A metric's doc comment is its help text; label values are enums or names known at
//! the start, so the number of series is a product of what can be counted. The catalogue is `observability.md`.

mod edge;
mod family;
mod labels;
mod model;
mod state;
mod turns;

pub use edge::{Connections, Http, RateLimit, Sse, WebSocket};
pub use family::{Counter, Gauge, Held, Histogram, Label, Labels, Name};
pub use labels::*;
pub use model::{Breakers, Model, Routing};
use prometheus::{Registry, TextEncoder};
pub use state::{Leases, Memory, Process, TurnLog};
pub use turns::Turns;

/// All families of one process. Made once; two servers in one process have two.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Requests.
    pub http: Http,
    /// TCP connections.
    pub connections: Connections,
    /// Event streams.
    pub sse: Sse,
    /// Sockets.
    pub websocket: WebSocket,
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
        Self {
            http: Http::register(&registry),
            connections: Connections::register(&registry),
            sse: Sse::register(&registry),
            websocket: WebSocket::register(&registry),
            rate_limit: RateLimit::register(&registry),
            breakers: Breakers::register(&registry),
            turns: Turns::register(&registry),
            routing: Routing::register(&registry),
            model: Model::register(&registry),
            memory: Memory::register(&registry),
            turn_log: TurnLog::register(&registry),
            leases: Leases::register(&registry),
            process: Process::register(&registry),
            registry,
        }
    }

    /// Everything in Prometheus' text format 0.0.4.
    pub fn render(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
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
}
