//! What a collector is told of the service, and what it costs when the collector is not there.

mod collectors;
mod context;
mod sampling;
mod takeover;
mod turn;

use crate::support::collector::{Collector, Span};
use crate::support::replicas::Plan;
use polylogue::simulator::Simulator;

/// A replica on this model that sends its spans at once.
fn traced(model: &Simulator, collector: &Collector) -> Plan {
    Plan::on(model)
        .environment("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{}", collector.address))
        .environment("OTEL_BSP_SCHEDULE_DELAY", "10")
}

/// The one span of this name.
fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found = all(spans, name);
    assert_eq!(found.len(), 1, "{name}");
    found[0]
}

fn all<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn has(spans: &[Span], name: &str) -> bool {
    spans.iter().any(|span| span.name == name)
}

/// The span above.
fn above<'a>(spans: &'a [Span], span: &Span) -> &'a Span {
    let parent = spans.iter().find(|it| it.id == span.parent && it.trace == span.trace);
    parent.unwrap_or_else(|| panic!("{} has no parent", span.name))
}
