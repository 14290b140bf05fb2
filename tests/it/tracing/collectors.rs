//! The way to a collector: both protocols, and what happens when it is slow, wrong or gone.

use futures_util::future::join_all;
use serde_json::json;

use super::traced;
use crate::support::collector::{Collector, Manner};
use crate::support::replicas::{Plan, Replica};
use crate::support::{eventually, model, ports};

/// So many turns, all of which must end well.
async fn turns(replica: &Replica, count: usize) {
    let ask = async |_| {
        replica.client.post("/api/v1/chat", json!({"message": "hi", "personas": ["guide"]})).await.status
    };
    let statuses = join_all((0..count).map(ask)).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
}

const DROPPED: &str = "telemetry_dropped_total{signal=\"traces\"}";

#[tokio::test]
async fn spans_go_by_either_protocol_as_the_standard_variables_say() {
    let (simulator, _) = model().await;
    for protocol in ["http/protobuf", "grpc"] {
        for compression in ["none", "gzip"] {
            let collector =
                if protocol == "grpc" { Collector::grpc().await } else { Collector::http().await };
            let plan = traced(&simulator, &collector)
                .environment("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
                .environment("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", protocol)
                .environment("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
                .environment("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue%20team,authorization=Bearer%20abc")
                .environment("OTEL_EXPORTER_OTLP_TIMEOUT", "5000")
                .environment(
                    "OTEL_RESOURCE_ATTRIBUTES",
                    "deployment.environment.name=test,service.name=other",
                )
                .environment("OTEL_SERVICE_NAME", "chat");
            let replica = plan.start().await;

            turns(&replica, 1).await;

            let turn = collector.span("invoke_workflow polylogue").await;
            assert_eq!(turn.resource["service.name"], "chat");
            assert_eq!(turn.resource["deployment.environment.name"], "test");
            let headers = &collector.batches()[0];
            assert_eq!(
                (headers["x-tenant"].to_str().unwrap(), headers["authorization"].to_str().unwrap()),
                ("blue team", "Bearer abc")
            );
            assert_eq!(replica.metric(DROPPED).await, 0.0, "{protocol} {compression}");
        }
    }
}

#[tokio::test]
async fn a_collector_that_is_not_there_costs_spans_and_nothing_else() {
    let (simulator, _) = model().await;
    let nowhere = format!("http://127.0.0.1:{}", ports::free());
    let plan = Plan::on(&simulator)
        .environment("OTEL_EXPORTER_OTLP_ENDPOINT", &nowhere)
        .environment("OTEL_BSP_SCHEDULE_DELAY", "10")
        .set("tracing.timeout=200ms");
    let replica = plan.start().await;
    turns(&replica, 20).await;
    eventually("they are counted", async || replica.metric(DROPPED).await > 0.0).await;
    assert_eq!(replica.logged("trace_export_failed").len(), 1, "said once");
    replica.terminate();
    assert_eq!(replica.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_collector_that_is_silent_or_wrong_holds_up_no_turn() {
    let (simulator, _) = model().await;
    for manner in [Manner::IsSilent, Manner::Says(503), Manner::Says(400)] {
        let collector = Collector::http().await;
        collector.behaves(manner);
        let plan = traced(&simulator, &collector)
            .environment("OTEL_BSP_MAX_QUEUE_SIZE", "16")
            .environment("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8");
        let replica = plan.start().await;
        turns(&replica, 20).await;
        eventually("they are counted", async || replica.metric(DROPPED).await >= 20.0).await;
        collector.behaves(Manner::Takes);
        if manner == Manner::Says(400) {
            turns(&replica, 1).await;
            eventually("it works again", async || !replica.logged("trace_export_recovered").is_empty()).await;
        }
    }
}

#[tokio::test]
async fn spans_that_the_collector_rejects_are_counted() {
    let (simulator, _) = model().await;
    for collector in [Collector::http().await, Collector::grpc().await] {
        collector.behaves(Manner::Rejects(2));
        let mut plan = traced(&simulator, &collector).set("tracing.batch_delay=200ms");
        if collector.is_grpc() {
            plan = plan.set("tracing.protocol=grpc");
        }
        let replica = plan.start().await;
        turns(&replica, 1).await;
        eventually("they are counted", async || replica.metric(DROPPED).await >= 2.0).await;
    }
}

#[tokio::test]
async fn what_is_left_is_sent_before_the_process_ends() {
    let (simulator, _) = model().await;
    let collector = Collector::http().await;
    let replica = traced(&simulator, &collector).set("tracing.batch_delay=1h").start().await;
    turns(&replica, 3).await;
    assert!(collector.spans().is_empty());

    replica.terminate();

    assert_eq!(replica.exit_code().await, Some(0));
    let spans = collector.spans();
    assert_eq!(super::all(&spans, "invoke_workflow polylogue").len(), 3);
    assert_eq!(super::all(&spans, "POST /api/v1/chat").len(), 3);
}

#[tokio::test]
async fn an_end_does_not_wait_for_a_silent_collector() {
    let (simulator, _) = model().await;
    let collector = Collector::http().await;
    collector.behaves(Manner::IsSilent);
    let replica = traced(&simulator, &collector).start().await;
    turns(&replica, 1).await;
    replica.terminate();
    // The bound is three seconds, the collector's time-out ten; the helper waits ten in all.
    assert_eq!(replica.exit_code().await, Some(0));
}
