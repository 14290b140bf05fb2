//! Secrets and what people say go through every door and every failure, and come out nowhere.

use serde_json::{Value, json};

use super::canaries::*;
use super::echo::{WAYS, echo};
use crate::auth::{KeysFile, entry, key};
use crate::support::collector::{Collector, tree};
use crate::support::redis::RedisServer;
use crate::support::replicas::{Plan, Replica};
use crate::support::{Client, Scratch, Socket, polylogue};

fn personas() -> Scratch {
    let persona = |id: &str| {
        format!(
            "[[personas]]\nid = \"{id}\"\nname = \"{id}\"\ndescription = \"{id}\"\nsystem_prompt = \"{SYSTEM_PROMPT}\"\n"
        )
    };
    Scratch::file("toml", &(persona("ada") + &persona("bob")))
}

/// What the service answers with when something is wrong.
#[derive(Default)]
struct Refusals(Vec<String>);

impl Refusals {
    fn note(&mut self, status: u16, body: &Value) {
        if status >= 400 {
            self.0.push(body.to_string());
        }
    }

    /// Also what an ended turn says of its errors.
    fn note_turn(&mut self, turn: &Value) {
        let replies = turn["replies"].as_array().into_iter().flatten();
        self.0.extend(replies.map(|reply| reply["error"].to_string()));
        self.0.push(turn["error"].to_string());
    }
}

fn asked(nth: usize) -> Value {
    json!({"message": format!("{PROMPT} {nth}"), "personas": ["ada"], "metadata": {"note": METADATA}})
}

const ENDS: [&str; 4] = ["turn.completed", "turn.failed", "turn.cancelled", "error"];

/// Every way in, each often enough for every way a model goes wrong; the ticket that was used.
async fn every_door(caller: &Client, address: &str, refusals: &mut Refusals) -> String {
    let traced = format!("secret={BAGGAGE}");
    for nth in 0..WAYS {
        let id = format!("{IDEMPOTENCY_KEY}-{nth}");
        let headers = [("idempotency-key", id.as_str()), ("baggage", &traced), ("x-forwarded-for", ADDRESS)];
        let answer = caller.post_with("/api/v1/chat", &headers, &asked(nth)).await;
        refusals.note(answer.status, &answer.body);
        refusals.note_turn(&answer.body);
    }
    for nth in 0..WAYS {
        caller.stream(asked(nth)).await.rest().await;
    }
    let routed = json!({"message": PROMPT});
    caller.post("/api/v1/chat", routed).await;
    let ticket = caller.post("/api/v1/chat/ws/tickets", json!({})).await;
    let ticket = ticket.body["ticket"].as_str().unwrap().to_owned();
    let mut socket = Socket::with(address, &format!("?ticket={ticket}"), &[]).await.unwrap();
    for nth in 0..WAYS {
        let mut frame = json!({"type": "chat", "ref": format!("{nth}")});
        frame.as_object_mut().unwrap().extend(asked(nth).as_object().unwrap().clone());
        socket.send(frame).await;
        while !ENDS.contains(&socket.next().await.unwrap()["type"].as_str().unwrap()) {}
    }
    for wrong in
        [json!({"type": PROMPT}), json!({"type": "chat", "message": PROMPT, "x": PROMPT}), json!(PROMPT)]
    {
        socket.send(wrong).await;
    }
    socket.send(json!({"type": "auth", "ref": "a", "token": TOKEN})).await;
    bad_requests(caller, refusals).await;
    ticket
}

async fn bad_requests(caller: &Client, refusals: &mut Refusals) {
    let bodies = [
        format!("{{\"message\": \"{PROMPT}"),
        json!({"message": PROMPT, MEMBER: PROMPT}).to_string(),
        json!({"message": PROMPT, "personas": [PROMPT]}).to_string(),
        json!({"message": PROMPT, "metadata": METADATA}).to_string(),
        json!({"message": PROMPT, "metadata": {"a": {"b": METADATA}}}).to_string(),
        json!({"message": PROMPT.repeat(40_000)}).to_string(),
    ];
    for body in bodies {
        for kind in ["application/json", "text/plain"] {
            let request = caller.client.post(caller.url("/api/v1/chat")).header("content-type", kind);
            let answer = crate::support::Answer::of(request.body(body.clone()).send().await.unwrap()).await;
            refusals.note(answer.status, &answer.body);
        }
    }
    for path in [
        format!("/{PROMPT}"),
        format!("/api/v1/turns/{PROMPT}"),
        format!("/api/v1/personas/{PROMPT}?q={PROMPT}"),
    ] {
        let answer = caller.get(&path).await;
        refusals.note(answer.status, &json!({"body": answer.body, "instance": ""}));
    }
    let long_key = IDEMPOTENCY_KEY.repeat(20);
    let answer = caller.post_with("/api/v1/chat", &[("idempotency-key", &long_key)], &asked(0)).await;
    refusals.note(answer.status, &answer.body);
    for credential in [TOKEN, "canary-token-b2c4"] {
        let answer = caller.with_bearer(credential).get("/api/v1/personas").await;
        refusals.note(answer.status, &answer.body);
    }
}

#[tokio::test]
async fn nothing_that_is_nobodys_business_is_written_anywhere() {
    let redis = RedisServer::builder().password(REDIS_PASSWORD).start().await;
    let (personas, api_key) = (personas(), key());
    let keys = KeysFile::new(&[entry("ada", &api_key, "")]);
    let shown = api_key.reveal().to_owned();
    for level in ["info", "debug,polylogue=debug", "info,polylogue=trace"] {
        let collector = Collector::http().await;
        let url = redis.url();
        let (model, _serving) = echo().await;
        let plan = Plan::at(&model)
            .environment("OPENAI_API_KEY", UPSTREAM_KEY)
            .environment("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{}", collector.address))
            .environment("OTEL_EXPORTER_OTLP_HEADERS", &format!("authorization={COLLECTOR_KEY}"))
            .environment("OTEL_BSP_SCHEDULE_DELAY", "10")
            .redis(&url)
            .set(&format!("telemetry.log_filter={level}"))
            .set(&format!("personas.file={}", personas.path().display()))
            .set(&format!("auth.keys_file={}", keys.path().display()))
            .set("server.trusted_proxies=127.0.0.0/8")
            .set("llm.retry.wait=1ms")
            .set("llm.breaker.failures=1000");
        let replica = plan.start().await;
        let mut refusals = Refusals::default();

        let caller = replica.client.with_bearer(&shown);
        let ticket = every_door(&caller, &replica.address(), &mut refusals).await;

        let mut never = NEVER.to_vec();
        never.extend([shown.as_str(), &ticket]);
        must_be_clean("an answer", &refusals.0.join("\n"), &never);
        never.push(MEMBER);
        seen_by_operators(&replica, &never).await;
        replica.terminate();
        replica.exit_code().await;
        let spans = collector.spans();
        assert!(spans.len() > 50, "{}", spans.len());
        must_be_clean("a span", &format!("{spans:?}"), &never);
        must_be_clean("a span", &tree(&spans), &[ADDRESS]);
        must_be_clean("the log", &replica.log(), &never);
        if level == "info" {
            must_be_clean("the log", &replica.log(), &[ADDRESS]);
        }
        assert!(replica.log().contains("model_refused") && replica.log().contains("reply_failed"));
    }
}

async fn seen_by_operators(replica: &Replica, never: &[&str]) {
    for path in ["/metrics", "/status", "/version", "/log-level"] {
        let shown = replica.management.get(path).await.body.to_string();
        must_be_clean(path, &shown, never);
    }
}

#[test]
fn a_wrong_configuration_is_told_without_its_secrets() {
    let environment = [
        ("REDIS_URL", format!("redis://user:{REDIS_PASSWORD}@host:port/x")),
        ("OPENAI_API_KEY", format!("{UPSTREAM_KEY} \u{7}")),
        ("OTEL_EXPORTER_OTLP_HEADERS", COLLECTOR_KEY.to_owned()),
    ];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    for command in ["check-config", "config", "serve"] {
        let output = polylogue(&[command], &environment).output().unwrap();
        let said = format!("{output:?}");
        assert!(!output.status.success() && said.contains("redis.url"), "{said}");
        must_be_clean(command, &said, &NEVER);
    }
}
