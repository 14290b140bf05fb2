//! The trace of a turn is what happened in it.

use polylogue::simulator::{Fault, Rule};
use serde_json::json;

use super::{above, all, has, only, traced};
use crate::support::collector::{Collector, Span, tree};
use crate::support::redis::{Mode, Proxy, RedisServer};
use crate::support::{Socket, eventually, model, says};

const PERSONAS: [&str; 3] = ["guide", "skeptic", "historian"];

#[tokio::test]
async fn a_turn_of_three_personas_with_a_retry_and_without_redis_is_told_as_it_was() {
    let (simulator, controls) = model().await;
    let collector = Collector::http().await;
    let redis = RedisServer::start().await;
    let network = Proxy::to(&redis.address()).await;
    let plan = traced(&simulator, &collector).redis(&redis.url_by(&network.address()));
    let replica = plan.set("llm.retry.wait=10ms").set("redis.breaker.failures=2").start().await;
    let fails = Rule::fails(Fault::ServerError).when_contains("You are Skeptic").times(1);
    controls.rules([fails, says("skeptic", ["No."]), says("guide", ["Yes."]), says("historian", ["Once."])]);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [("traceparent", parent), ("tracestate", "a=1")];
    let mut socket = Socket::with(&replica.address(), "", &headers).await.unwrap();

    network.set(Mode::Blackhole);
    socket.send(json!({"type": "chat", "ref": "r", "message": "hi", "personas": PERSONAS})).await;
    let told = socket.until("turn.completed").await;

    let is_whole = |spans: &[Span]| {
        has(spans, "invoke_workflow polylogue")
            && has(spans, "message /api/v1/chat/ws")
            && has(spans, "GET /api/v1/chat/ws")
    };
    let spans = collector.until("the whole turn", is_whole).await;
    eprintln!("{}", tree(&spans));

    let upgrade = only(&spans, "GET /api/v1/chat/ws");
    assert_eq!(
        (&upgrade.trace[..], &upgrade.parent[..], &upgrade.state[..]),
        (&parent[3..35], &parent[36..52], "a=1")
    );
    assert_eq!((upgrade.kind, upgrade.get("http.response.status_code")), ("SERVER", &json!(101)));

    let message = only(&spans, "message /api/v1/chat/ws");
    assert_eq!((message.kind, &message.parent[..]), ("SERVER", ""), "a root of its own");
    assert_eq!(message.links, [(upgrade.trace.clone(), upgrade.id.clone())]);
    assert_eq!(message.get("polylogue.frame.type"), "chat");

    let turn = only(&spans, "invoke_workflow polylogue");
    assert_eq!((turn.kind, &turn.parent, &turn.trace), ("INTERNAL", &message.id, &message.trace));
    let started = told.iter().find(|frame| frame["type"] == "turn.started").unwrap();
    assert_eq!(turn.get("polylogue.turn.id"), &started["turn_id"]);
    assert_eq!(turn.get("gen_ai.conversation.id"), &started["conversation"]["id"]);
    assert_eq!((turn.get("polylogue.turn.outcome"), turn.has_failed), (&json!("completed"), false));

    for step in ["recall", "route", "reply", "remember"] {
        let node = only(&spans, &format!("graph.node {step}"));
        assert_eq!(
            (above(&spans, node).id.as_str(), node.get("polylogue.graph.node")),
            (&*turn.id, &json!(step))
        );
    }
    for persona in PERSONAS {
        let reply = only(&spans, &format!("invoke_agent {persona}"));
        assert_eq!(above(&spans, reply).name, "graph.node reply");
        assert_eq!(
            (reply.get("gen_ai.agent.name"), reply.get("polylogue.reply.outcome")),
            (&json!(persona), &json!("completed"))
        );
    }
    a_retried_call(&spans, &simulator.addr.port().into());
    let sent: Vec<_> = controls.stats().last.iter().map(|seen| seen.traceparent.clone().unwrap()).collect();
    let attempts = all(&spans, "POST");
    assert_eq!((sent.len(), attempts.len()), (4, 4));
    for attempt in attempts {
        let place = format!("00-{}-{}-01", attempt.trace, attempt.id);
        assert!(sent.contains(&place), "{place} was not sent: {sent:?}");
    }
    let decisions: Vec<_> = spans.iter().flat_map(Span::event_names).collect();
    for decision in ["redis_degraded", "turn_alone"] {
        assert!(decisions.contains(&decision), "{decision}: {decisions:?}");
    }
    assert!(spans.iter().any(|it| it.get("db.system.name") == "redis" && it.has_failed), "a slow command");
    assert!(spans.iter().all(|span| span.schema == "https://opentelemetry.io/schemas/gen-ai/0.1.0"));
    assert_eq!(turn.resource["service.name"], "polylogue");
    assert_eq!(turn.resource["service.instance.id"], replica.logged("application_ready")[0]["replica"]);

    eventually("it is logged", async || !replica.logged("turn_finished").is_empty()).await;
    let line = &replica.logged("turn_finished")[0];
    assert_eq!((&line["trace_id"], &line["span_id"]), (&json!(turn.trace), &json!(turn.id)));
}

/// The skeptic's model was asked twice, and what came between is an event of its call.
fn a_retried_call(spans: &[Span], port: &serde_json::Value) {
    let reply = only(spans, "invoke_agent skeptic");
    let call = spans.iter().find(|span| span.parent == reply.id && span.name == "chat any").unwrap();
    assert_eq!((call.kind, call.has_failed), ("CLIENT", false));
    for (name, value) in [
        ("gen_ai.operation.name", json!("chat")),
        ("gen_ai.provider.name", json!("openai")),
        ("gen_ai.request.model", json!("any")),
        ("gen_ai.response.finish_reasons", json!(["stop"])),
        ("gen_ai.usage.output_tokens", json!(1)),
        ("server.address", json!("127.0.0.1")),
        ("server.port", port.clone()),
    ] {
        assert_eq!(call.get(name), &value, "{name}");
    }
    let mut attempts: Vec<_> = spans.iter().filter(|span| span.parent == call.id).collect();
    attempts.sort_by_key(|attempt| attempt.start);
    let [first, second] = attempts[..] else { panic!("{attempts:?}") };
    assert_eq!((first.get("http.response.status_code"), first.has_failed), (&json!(500), true));
    assert_eq!((second.get("http.response.status_code"), second.has_failed), (&json!(200), false));
    assert_eq!(
        (first.get("http.request.resend_count"), second.get("http.request.resend_count")),
        (&json!(null), &json!(1))
    );
    let (name, said) = &call.events[0];
    assert_eq!(
        (name.as_str(), &said["attempt"], &said["reason"]),
        ("model_retried", &json!(1), &json!("broken"))
    );
}

#[tokio::test]
async fn a_request_that_is_refused_shows_why_and_nothing_of_what_it_said() {
    let (simulator, _) = model().await;
    let collector = Collector::http().await;
    let replica = traced(&simulator, &collector).set("limits.policies.default.quota=1").start().await;
    replica.client.get("/api/v1/personas").await;

    let refused = replica.client.post("/api/v1/chat", json!({"message": "hi"})).await;

    assert_eq!(refused.status, 429);
    let span = collector.span("POST /api/v1/chat").await;
    assert_eq!((span.get("http.response.status_code"), span.has_failed), (&json!(429), false));
    let (name, said) = &span.events[0];
    assert_eq!((name.as_str(), &said["policy"]), ("rate_limit_exceeded", &json!("default")));
    assert!(!said.contains_key("client") && !said.contains_key("message"), "{said:?}");
}
