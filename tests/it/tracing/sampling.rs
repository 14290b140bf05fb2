//! Which traces are kept, and what is told of the others.

use polylogue::simulator::{Fault, Rule};
use serde_json::json;

use super::traced;
use crate::support::collector::Collector;
use crate::support::model;

#[tokio::test]
async fn of_a_trace_that_is_not_kept_only_a_turn_that_fails_is_told() {
    let (simulator, controls) = model().await;
    let collector = Collector::http().await;
    let plan = traced(&simulator, &collector).environment("OTEL_TRACES_SAMPLER", "always_off");
    let replica = plan.set("llm.retry.attempts=1").start().await;
    let asked = json!({"message": "hi", "personas": ["guide", "skeptic"]});
    assert_eq!(replica.client.post("/api/v1/chat", asked.clone()).await.status, 200);
    controls.rules([Rule::fails(Fault::ServerError)]);

    let answer = replica.client.post("/api/v1/chat", asked).await;

    assert_eq!(answer.status, 503);
    let turn = collector.span("invoke_workflow polylogue").await;
    assert_eq!(turn.get("polylogue.sampled_late"), true);
    assert_eq!((turn.get("polylogue.turn.id"), turn.has_failed), (&json!(answer.header("turn-id")), true));
    assert_eq!(
        (turn.get("error.type"), turn.get("polylogue.turn.outcome")),
        (&json!("model_unavailable"), &json!("failed"))
    );
    replica.terminate();
    replica.exit_code().await;
    let line = &replica.logged("turn_finished")[1];
    assert_eq!(line["trace_id"], json!(turn.trace));
    assert!(line["error"].as_str().is_some_and(|causes| !causes.is_empty()), "{line}");
    assert_eq!(collector.spans().len(), 1, "nothing else is told");
    assert!(controls.stats().last.iter().all(|seen| seen.traceparent.as_ref().unwrap().ends_with("-00")));
}

#[tokio::test]
async fn a_caller_decides_whether_its_trace_is_kept() {
    let (simulator, _) = model().await;
    let collector = Collector::http().await;
    let plan = traced(&simulator, &collector).environment("OTEL_TRACES_SAMPLER", "parentbased_always_off");
    let replica = plan.start().await;
    for flags in ["00", "01"] {
        let parent = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333{}-{flags}", &flags[1..]);
        let (headers, asked) = ([("traceparent", parent.as_str())], json!({"message": "hi"}));
        assert_eq!(replica.client.post_with("/api/v1/chat", &headers, &asked).await.status, 200);
    }
    replica.client.get("/api/v1/personas").await;
    replica.terminate();
    replica.exit_code().await;
    let spans = collector.spans();
    let requests: Vec<_> = spans.iter().filter(|span| span.kind == "SERVER").collect();
    assert_eq!((requests.len(), requests[0].parent.as_str()), (1, "b7ad6b7169203331"));
}
