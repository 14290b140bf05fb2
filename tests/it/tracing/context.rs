//! What callers say about their traces is taken in where it is right, and harmless where it is not.

use serde_json::json;

use super::traced;
use crate::support::collector::Collector;
use crate::support::replicas::Plan;
use crate::support::{eventually, model};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn hostile_headers_are_as_if_they_had_not_been_said() {
    let (simulator, _) = model().await;
    let collector = Collector::http().await;
    let replica = traced(&simulator, &collector).set("tracing.baggage=tenant").start().await;
    let (huge, many) = ("f".repeat(20_000), "tenant=a,".repeat(1_000));
    let hostile: [&[(&str, &str)]; 6] = [
        &[("traceparent", &huge)],
        &[("traceparent", PARENT), ("traceparent", PARENT)],
        &[("traceparent", "00-00000000000000000000000000000000-0000000000000000-ff")],
        &[("traceparent", "\u{e9}")],
        &[("baggage", &many)],
        &[("baggage", &huge), ("baggage", "tenant=blue")],
    ];
    for headers in hostile {
        let request = replica.client.client.get(replica.client.url("/api/v1/personas"));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        assert_eq!(request.send().await.unwrap().status(), 200, "{headers:?}");
    }
    let spans = collector.until("all", |spans| spans.len() == hostile.len()).await;
    for span in spans {
        assert!(span.parent.is_empty() && span.trace != PARENT[3..35], "{span:?}");
        assert_eq!(span.get("baggage.tenant"), &json!(null), "{span:?}");
    }
}

#[tokio::test]
async fn without_a_collector_the_callers_trace_is_passed_on_as_it_came() {
    let (simulator, controls) = model().await;
    let replica = Plan::on(&simulator).start().await;
    let headers = [("traceparent", PARENT), ("baggage", "tenant=blue")];
    let asked = json!({"message": "hi", "personas": ["guide"]});
    replica.client.post_with("/api/v1/chat", &headers, &asked).await;
    assert_eq!(controls.stats().last[0].traceparent.as_deref(), Some(PARENT));
    eventually("it is logged", async || !replica.logged("turn_finished").is_empty()).await;
    assert_eq!(replica.logged("turn_finished")[0]["trace_id"], PARENT[3..35]);
}

#[tokio::test]
async fn switched_off_nothing_is_traced() {
    let (simulator, controls) = model().await;
    let collector = Collector::http().await;
    let replica = traced(&simulator, &collector).environment("OTEL_SDK_DISABLED", "true").start().await;
    replica.client.post_with("/api/v1/chat", &[("traceparent", PARENT)], &json!({"message": "hi"})).await;
    replica.terminate();
    replica.exit_code().await;
    assert!(collector.spans().is_empty() && controls.stats().last[0].traceparent.is_none());
    assert!(replica.logged("turn_finished")[0].get("trace_id").is_none());
}
