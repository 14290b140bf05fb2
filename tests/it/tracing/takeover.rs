//! A turn that goes on elsewhere begins a trace that leads back to its request's.

use serde_json::json;

use super::{all, traced};
use crate::support::collector::{Collector, Span};
use crate::support::redis::RedisServer;
use crate::support::replicas::Replicas;
use crate::support::{eventually, model, says};

#[tokio::test]
async fn the_new_owner_links_to_the_trace_of_the_request_and_stores_nothing_else_of_it() {
    let (simulator, controls) = model().await;
    let collector = Collector::http().await;
    let redis = RedisServer::start().await;
    let plan = traced(&simulator, &collector).redis(&redis.url()).set("tracing.baggage=tenant");
    let replicas = Replicas::of(vec![plan; 2]).await;
    let [first, second] = replicas.first_chunk().unwrap();
    controls.rules([says("skeptic", ["But ", "why?"]).pausing_after(1)]);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [("traceparent", parent), ("tracestate", "vendor=secret"), ("baggage", "tenant=blue")];
    let asked = json!({"message": "hi", "personas": ["skeptic"]});
    let answer = first.client.post_with("/api/v1/turns", &headers, &asked).await;
    let turn = answer.header("turn-id");
    eventually("it speaks", async || controls.stats().requests == 1).await;
    let request = collector.span("POST /api/v1/turns").await;
    assert_eq!((&request.trace[..], request.get("baggage.tenant")), (&parent[3..35], &json!("blue")));

    let keys = redis.keys("*").await;
    for key in &keys {
        let kept = format!("{:?}", redis.ask(&["DUMP", key]).await)
            + &format!("{:?}", redis.ask(&["HGETALL", key]).await);
        assert!(!kept.contains("tenant") && !kept.contains("vendor"), "{key}: {kept}");
    }
    controls.rules([says("skeptic", ["Why ", "not?"])]);
    first.kill_9();
    second.ended(turn).await;

    let taken_over = |spans: &[Span]| all(spans, "invoke_workflow polylogue").len() == 1;
    let spans = collector.until("the turn has ended", taken_over).await;
    let went_on = all(&spans, "invoke_workflow polylogue")[0];
    assert_eq!((went_on.parent.as_str(), went_on.get("polylogue.turn.takeover")), ("", &json!(true)));
    assert_ne!(went_on.trace, request.trace);
    assert_eq!(went_on.links, [(request.trace.clone(), request.id.clone())]);
    assert_eq!(went_on.get("polylogue.turn.id"), turn);
    assert_ne!(went_on.resource["service.instance.id"], request.resource["service.instance.id"]);
    eventually("it is logged", async || !second.logged("turn_finished").is_empty()).await;
    assert_eq!(second.logged("turn_finished")[0]["trace_id"], json!(went_on.trace));
}
