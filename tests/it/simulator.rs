//! The simulator, spoken to over real sockets.

use std::time::Duration;

use futures_util::StreamExt;
use polylogue::config::Config;
use polylogue::shutdown::Shutdown;
use polylogue::simulator::{Controls, Fault, Rule, Settings, Simulator, Stats};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// No answer here takes longer; a test that waits in vain ends with it.
const PATIENCE: Duration = Duration::from_secs(10);

struct Client {
    http: reqwest::Client,
    simulator: Simulator,
    shutdown: Shutdown,
}

impl Client {
    /// A simulator without delays, and a client for it.
    async fn start() -> Self {
        let settings = Settings {
            time_to_first_token_ms: 0,
            token_gap_ms: 0,
            tokens: 12.try_into().unwrap(),
            ..Settings::from(&Config::default().simulator)
        };
        let shutdown = Shutdown::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let simulator = Simulator::start(settings, listener, &shutdown).unwrap();
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { http, simulator, shutdown }
    }

    async fn with_rules(rules: impl IntoIterator<Item = Rule>) -> Self {
        let client = Self::start().await;
        client.controls().rules(rules);
        client
    }

    fn controls(&self) -> &Controls {
        &self.simulator.controls
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.simulator.addr)
    }

    async fn post(&self, body: &Value) -> reqwest::Response {
        self.http.post(self.url("/v1/chat/completions")).json(body).send().await.unwrap()
    }

    async fn ask(&self, text: &str) -> reqwest::Response {
        self.post(&question(text)).await
    }

    async fn stream(&self, text: &str) -> reqwest::Response {
        self.post(&with(question(text), json!({"stream": true}))).await
    }

    async fn text_of(&self, body: &Value) -> String {
        let answer: Value = self.post(body).await.json().await.unwrap();
        answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    }

    /// Waits until what happened is what should have.
    async fn until(&self, right: impl Fn(&Stats) -> bool) {
        let waiting = async {
            while !right(&self.controls().stats()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the stats become what they should");
    }
}

fn question(text: &str) -> Value {
    json!({"model": "any", "messages": [{"role": "user", "content": text}]})
}

fn with(mut body: Value, more: Value) -> Value {
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    body
}

/// The `data` of every event, in order.
fn events(body: &str) -> Vec<Value> {
    let data = body.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap());
    data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| data.into())).collect()
}

fn streamed_text(events: &[Value]) -> String {
    events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect()
}

#[tokio::test]
async fn a_stream_brings_role_text_reason_usage_and_done() {
    let client = Client::start().await;
    let body = with(question("hi"), json!({"stream": true, "stream_options": {"include_usage": true}}));
    let response = client.post(&body).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");

    let events = events(&response.text().await.unwrap());
    assert_eq!(events.len(), 1 + 12 + 3);
    assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert!(events[1..13].iter().all(|event| event["choices"][0]["finish_reason"].is_null()));
    assert_eq!(events[13]["choices"][0]["finish_reason"], "stop");
    assert_eq!(events[14]["choices"], json!([]));
    assert_eq!(events[14]["usage"]["completion_tokens"], 12);
    assert_eq!(events[15], "[DONE]");
    assert!(events[..15].iter().all(|event| event["id"] == events[0]["id"] && event["model"] == "any"));
}

#[tokio::test]
async fn usage_is_streamed_only_when_asked_for() {
    let client = Client::start().await;
    let body = client.stream("hi").await.text().await.unwrap();
    assert!(!body.contains("usage"), "{body}");
}

#[tokio::test]
async fn the_whole_answer_is_the_streamed_one() {
    let client = Client::start().await;
    let streamed = streamed_text(&events(&client.stream("hi").await.text().await.unwrap()));
    let whole: Value = client.ask("hi").await.json().await.unwrap();
    assert_eq!(whole["choices"][0]["message"]["content"], streamed);
    assert_eq!(whole["object"], "chat.completion");
    assert_eq!(whole["usage"]["completion_tokens"], 12);
}

#[tokio::test]
async fn the_same_prompt_and_seed_have_the_same_answer_and_others_another() {
    let (one, two) = (Client::start().await, Client::start().await);
    two.controls().change(|settings| (settings.time_to_first_token_ms, settings.token_gap_ms) = (5, 1));
    let first = one.text_of(&question("hi")).await;
    assert_eq!(two.text_of(&question("hi")).await, first);
    assert_ne!(two.text_of(&question("hello")).await, first);

    let messages = json!([{"role": "system", "content": "a poet"}, {"role": "user", "content": "hi"}]);
    let as_poet = one.text_of(&json!({"model": "any", "messages": messages})).await;
    assert_ne!(as_poet, first);
    two.controls().change(|settings| settings.seed = 2);
    assert_ne!(two.text_of(&question("hi")).await, first);
}

#[tokio::test]
async fn a_limit_of_tokens_cuts_the_answer_and_says_so() {
    let client = Client::start().await;
    let whole = client.text_of(&question("hi")).await;
    for name in ["max_tokens", "max_completion_tokens"] {
        let answer: Value = client.post(&with(question("hi"), json!({name: 5}))).await.json().await.unwrap();
        assert_eq!(answer["choices"][0]["finish_reason"], "length");
        assert_eq!(answer["usage"]["completion_tokens"], 5);
        assert!(whole.starts_with(answer["choices"][0]["message"]["content"].as_str().unwrap()));
    }
}

#[tokio::test]
async fn a_schema_is_answered_with_json_that_follows_it() {
    let client = Client::start().await;
    let schema = json!({"type": "object", "properties": {
        "personas": {"type": "array", "items": {"enum": ["historian", "skeptic"]}},
        "reason": {"type": "string"},
    }});
    let format = json!({"type": "json_schema", "json_schema": {"name": "routing", "schema": schema}});
    let body = with(question("was Troy real?"), json!({"response_format": format}));

    let text = client.text_of(&body).await;
    let decision: Value = serde_json::from_str(&text).unwrap();
    let personas = decision["personas"].as_array().unwrap();
    assert!(!personas.is_empty() && personas.iter().all(|id| id == "historian" || id == "skeptic"), "{text}");
    assert!(decision["reason"].is_string());
    assert_eq!(client.text_of(&body).await, text);
}

#[tokio::test]
async fn every_error_has_the_shape_of_openais() {
    let client = Client::start().await;
    let chat = client.url("/v1/chat/completions");
    let wrong = [
        (client.http.get(client.url("/v1/nothing")), 404),
        (client.http.get(&chat), 405),
        (client.http.post(&chat).body("{"), 400),
        (client.http.post(&chat).json(&json!({"model": "any", "messages": []})), 400),
        (client.http.post(&chat).json(&json!({"messages": [{"role": "user", "content": "hi"}]})), 400),
    ];
    for (request, status) in wrong {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status);
        let error: Value = response.json().await.unwrap();
        assert!(error["error"]["message"].is_string() && error["error"]["type"].is_string(), "{error}");
        assert!(error["error"].get("code").is_some() && error["error"].get("param").is_some(), "{error}");
    }
}

#[tokio::test]
async fn the_models_are_listed() {
    let client = Client::start().await;
    let list: Value = client.http.get(client.url("/v1/models")).send().await.unwrap().json().await.unwrap();
    assert_eq!((&list["object"], &list["data"][0]["object"]), (&json!("list"), &json!("model")));
}

#[tokio::test]
async fn what_should_fail_before_the_answer_fails_with_its_status() {
    let table = [
        (Fault::RateLimited { retry_after_s: 7 }, 429, Some("7")),
        (Fault::ServerError, 500, None),
        (Fault::Unavailable { retry_after_s: 3 }, 503, Some("3")),
        (Fault::RefuseRequest, 400, None),
        (Fault::RefuseAuth, 401, None),
    ];
    for (fault, status, retry_after) in table {
        let client = Client::with_rules([Rule::fails(fault)]).await;
        let response = client.stream("hi").await;
        assert_eq!(response.status(), status);
        assert_eq!(response.headers().get("retry-after").map(|value| value.to_str().unwrap()), retry_after);
        let stats = client.controls().stats();
        assert_eq!((stats.refused, stats.cancelled, stats.in_flight), (1, 0, 0));
    }
}

#[tokio::test]
async fn a_cut_stream_brings_what_was_said_and_then_breaks() {
    let rule = Rule::says(["Once ", "upon ", "a time."]);
    let rule = Rule { fault: Some(Fault::CutStream { after_tokens: 2 }), ..rule };
    let client = Client::with_rules([rule]).await;

    let mut body = client.stream("hi").await.bytes_stream();
    let mut seen = String::new();
    let end = loop {
        match body.next().await {
            Some(Ok(bytes)) => seen += std::str::from_utf8(&bytes).unwrap(),
            end => break end,
        }
    };
    assert!(seen.contains("upon ") && !seen.contains("a time."), "{seen}");
    assert!(matches!(end, Some(Err(_))), "the client must not take it for an end");
    client.until(|stats| stats.in_flight == 0).await;
    assert_eq!(client.controls().stats().cancelled, 0);
}

#[tokio::test]
async fn a_stream_without_a_finish_reason_just_ends() {
    let client = Client::with_rules([Rule::fails(Fault::NoFinishReason)]).await;
    let events = events(&client.stream("hi").await.text().await.unwrap());
    assert_eq!(events.len(), 1 + 12);
    assert!(events.iter().all(|event| event["choices"][0]["finish_reason"].is_null()));
}

#[tokio::test]
async fn garbage_and_errors_come_inside_a_stream_with_status_200() {
    let client = Client::with_rules([
        Rule::fails(Fault::Garbage).times(1),
        Rule::fails(Fault::ErrorInStream { after_tokens: 1 }),
    ])
    .await;
    assert_eq!(events(&client.stream("hi").await.text().await.unwrap())[0], "this is not {JSON");
    let events = events(&client.stream("hi").await.text().await.unwrap());
    assert!(events.last().unwrap()["error"]["message"].is_string());
}

#[tokio::test]
async fn a_client_that_leaves_a_stalled_answer_counts_as_a_cancel() {
    let client = Client::with_rules([
        Rule::fails(Fault::Stall).times(1),
        Rule::fails(Fault::StallMidway { after_tokens: 1 }),
    ])
    .await;
    for leavers in 1..=2 {
        let mut body = client.stream("hi").await.bytes_stream();
        if leavers == 2 {
            assert!(body.next().await.unwrap().is_ok());
        }
        assert_eq!(client.controls().stats().in_flight, 1);
        drop(body);
        client.until(|stats| stats.cancelled == leavers && stats.in_flight == 0).await;
    }
}

#[tokio::test]
async fn a_rule_is_for_some_requests_and_some_times() {
    let rule = Rule::fails(Fault::ServerError).when_contains("skeptic").times(2);
    let client = Client::with_rules([rule]).await;
    let mut statuses = Vec::new();
    for text in ["poet", "a skeptic", "a skeptic", "a skeptic"] {
        statuses.push(client.ask(text).await.status().as_u16());
    }
    assert_eq!(statuses, [200, 500, 500, 200]);
}

#[tokio::test]
async fn a_paused_answer_waits_until_somebody_says_go_on() {
    let client = Client::with_rules([Rule::says(["Once ", "upon ", "a time."]).pausing_after(2)]).await;
    let mut body = client.stream("hi").await.bytes_stream();
    let mut seen = String::new();
    while !seen.contains("upon ") {
        seen += std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap();
    }
    assert!(!seen.contains("a time."));

    let answer = client.http.post(client.url("/simulator/continue")).send().await.unwrap();
    assert_eq!(answer.status(), 204);
    while let Some(bytes) = body.next().await {
        seen += std::str::from_utf8(&bytes.unwrap()).unwrap();
    }
    assert_eq!(streamed_text(&events(&seen)), "Once upon a time.");
}

#[tokio::test]
async fn the_settings_can_be_changed_member_by_member_and_wrong_ones_are_refused() {
    let client = Client::start().await;
    let put = async |body: Value| {
        client.http.put(client.url("/simulator/settings")).json(&body).send().await.unwrap()
    };
    let rules = json!([{"times": 1, "fault": {"rate_limited": {"retry_after_s": 2}}}]);
    let now: Value = put(json!({"tokens": 3, "rules": rules})).await.json().await.unwrap();
    assert_eq!((&now["tokens"], &now["seed"], &now["rules"]), (&json!(3), &json!(1), &rules));
    assert_eq!(client.ask("hi").await.status(), 429);
    assert_eq!(client.ask("hi").await.json::<Value>().await.unwrap()["usage"]["completion_tokens"], 3);

    for wrong in [json!({"tokens": 0}), json!({"speed": 1}), json!({"error_rate": 1.5}), json!([])] {
        assert_eq!(put(wrong).await.status(), 400);
    }
    assert_eq!(client.controls().settings().tokens.get(), 3);
}

#[tokio::test]
async fn a_share_of_requests_fails_and_the_seed_says_which() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let client = Client::start().await;
        client.controls().change(|settings| settings.error_rate = 0.3);
        let mut failed = Vec::new();
        for n in 0..100 {
            if client.ask(&n.to_string()).await.status() == 500 {
                failed.push(n);
            }
        }
        runs.push(failed);
    }
    assert!((15..45).contains(&runs[0].len()), "{runs:?}");
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test]
async fn the_stats_show_who_asked_and_nothing_of_what() {
    let client = Client::start().await;
    let request = client.http.post(client.url("/v1/chat/completions")).json(&question("a secret"));
    let answer = request.header("x-request-id", "req-7").bearer_auth("sk-1").send().await.unwrap();
    answer.bytes().await.unwrap();

    let stats = client.http.get(client.url("/simulator/stats")).send().await.unwrap();
    let text = stats.text().await.unwrap();
    let stats: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&stats["requests"], &stats["connections"]), (&json!(1), &json!(1)));
    assert_eq!(stats["last"][0]["request_id"], "req-7");
    assert_eq!(stats["last"][0]["authorized"], true);
    assert!(!text.contains("secret") && !text.contains("sk-1"), "{text}");
}

#[tokio::test]
async fn a_stop_lets_running_answers_end_and_does_not_wait_for_idle_connections() {
    let client = Client::with_rules([Rule::says(["one ", "two"]).pausing_after(1).times(1)]).await;
    let running = client.stream("hi").await;
    client.ask("hi").await.bytes().await.unwrap();

    client.shutdown.closing().cancel();
    client.controls().go_on();
    assert_eq!(streamed_text(&events(&running.text().await.unwrap())), "one two");
    tokio::time::timeout(PATIENCE, client.shutdown.ended()).await.expect("ends at once");
}

#[tokio::test]
async fn alone_it_ends_at_a_stop_even_with_nobody_asking() {
    let settings = Config::default().simulator;
    let shutdown = Shutdown::new();
    shutdown.ask();
    let run = polylogue::simulator::run(&settings, shutdown);
    tokio::time::timeout(PATIENCE, run).await.expect("ends at once").unwrap();
}
