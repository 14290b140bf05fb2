//! Who answers.

use polylogue::config::Config;
use polylogue::simulator::{Fault, Rule};
use serde_json::{Value, json};

use super::stage::*;
use crate::support::{TestApp, span};

/// A message without a list: who answered, which way that was decided, and why.
async fn route(app: &TestApp, message: &str) -> (Vec<String>, String, String) {
    let answer = app.post(CHAT, json!({"message": message})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let routing = &answer.body["routing"];
    let personas: Vec<String> = serde_json::from_value(routing["personas"].clone()).unwrap();
    let replies: Vec<_> =
        answer.body["replies"].as_array().unwrap().iter().map(|r| text(&r["persona"])).collect();
    assert_eq!(personas, replies);
    (personas, text(&routing["source"]).to_owned(), text(&routing["reason"]).to_owned())
}

/// The model chooses with these words.
fn chooses(answer: &str) -> Rule {
    Rule::says([answer]).when_contains(ROUTING)
}

fn chose(decision: (Vec<String>, String, String)) -> (Vec<String>, String) {
    (decision.0, decision.1)
}

fn answered(personas: &[&str], source: &str) -> (Vec<String>, String) {
    (personas.iter().map(|id| (*id).to_owned()).collect(), source.to_owned())
}

const SKEPTIC_FIRST: &str = r#"{"personas": ["skeptic", "guide"], "reason": "It is a claim."}"#;

#[tokio::test]
async fn the_model_chooses_and_says_why_and_the_choice_is_remembered() {
    let app = TestApp::start().await;
    app.model.rules([chooses(SKEPTIC_FIRST)]);
    let (personas, source, reason) = route(&app, "The earth is flat.").await;
    assert_eq!((personas, source.as_str()), (vec!["skeptic".to_owned(), "guide".to_owned()], "model"));
    assert_eq!(reason, "It is a claim.");
    let asked = app.model.stats().requests;
    let again = route(&app, "  the EARTH is\n flat. ").await;
    assert_eq!(again.2, "decided before", "why was perhaps said to somebody else");
    assert_eq!(chose(again), answered(&["skeptic", "guide"], "cache"));
    assert_eq!(app.model.stats().requests - asked, 2, "two replies, no question who answers");
    assert_eq!(app.metric("routing_decisions_total{source=\"model\"}"), 1.0);
    assert_eq!(app.metric("routing_decisions_total{source=\"cache\"}"), 1.0);
}

#[tokio::test]
async fn an_answer_that_is_no_choice_is_asked_for_once_more_with_its_fault_named() {
    for garbage in
        ["I would ask the skeptic.", r#"{"personas": ["nobody"], "reason": "x"}"#, r#"{"personas": []}"#]
    {
        let app = TestApp::start().await;
        let repaired = Rule::says([SKEPTIC_FIRST]).when_contains("Your answer could not be used");
        app.model.rules([repaired, chooses(garbage)]);
        assert_eq!(
            chose(route(&app, "Is it so?").await),
            answered(&["skeptic", "guide"], "model"),
            "{garbage}"
        );
        let requests = |cause: &str| {
            let text = app.app.services().metrics.render();
            let of = |line: &&str| line.starts_with("polylogue_llm_requests_total") && line.contains(cause);
            text.lines().filter(of).count()
        };
        assert_eq!(requests("cause=\"repair\""), 1);
        assert_eq!(app.model.stats().last.iter().filter(|seen| seen.json_schema).count(), 2);
    }
}

#[tokio::test]
async fn without_a_choice_the_default_persona_answers() {
    let cases: [(&str, Rule); 4] = [
        ("garbage twice", chooses("no JSON")),
        ("nobody known", chooses(r#"{"personas": ["nobody"], "reason": "x"}"#)),
        ("refused", Rule::fails(Fault::RefuseRequest).when_contains(ROUTING)),
        ("slow", Rule::fails(Fault::Stall).when_contains(ROUTING)),
    ];
    for (case, rule) in cases {
        let app = TestApp::with(|config| config.routing.timeout = span(300)).await;
        app.model.rules([rule]);
        assert_eq!(chose(route(&app, "Is it so?").await), answered(&["guide"], "fallback"), "{case}");
        app.model.rules([chooses(SKEPTIC_FIRST)]);
        let later = route(&app, "Is it so?").await;
        assert_eq!(chose(later), answered(&["skeptic", "guide"], "model"), "a fallback is not remembered");
    }
}

#[tokio::test]
async fn a_failing_model_does_not_hold_up_routing_for_longer_than_its_time() {
    let app = TestApp::with(|config| {
        config.routing.timeout = span(200);
        config.personas.default = Some("historian".into());
    })
    .await;
    app.model.rules([Rule::fails(Fault::ServerError).when_contains(ROUTING)]);
    assert_eq!(chose(route(&app, "Is it so?").await), answered(&["historian"], "fallback"));
    assert_eq!(
        app.metric("breaker_consecutive_failures{breaker=\"simulator\"}"),
        0.0,
        "a reply succeeded since"
    );
}

#[tokio::test]
async fn mentions_and_lists_ask_no_model_who_answers() {
    let app = TestApp::start().await;
    assert_eq!(
        chose(route(&app, "@critic @historian so?").await),
        answered(&["skeptic", "historian"], "mention")
    );
    let listed = app.post(CHAT, json!({"message": "@guide hello", "personas": ["historian"]})).await.body;
    assert_eq!(listed["routing"]["source"], "explicit");
    assert_eq!(listed["replies"][0]["persona"], "historian");
    assert!(app.model.stats().last.iter().all(|seen| !seen.json_schema));
}

#[tokio::test]
async fn unknown_personas_are_refused_by_their_places_through_every_door() {
    let app = TestApp::start().await;
    let body = json!({"message": "hello", "personas": ["guide", "nobody", "skeptic", "noone"]});
    for path in [CHAT, "/api/v1/chat/stream", TURNS] {
        is_unknown(&app.post(path, body.clone()).await.body);
    }
    let mut socket = app.socket().await;
    socket.send(frame("c-1", body)).await;
    is_unknown(&socket.next().await.unwrap()["error"]);
    assert_eq!(app.metric("turns_rejected_total{reason=\"unknown_persona\"}"), 4.0);
}

fn is_unknown(problem: &Value) {
    assert_eq!((text(&problem["code"]), &problem["status"]), ("unknown_persona", &json!(400)));
    let faults = problem["errors"].as_array().unwrap_or_else(|| panic!("no faults in {problem}"));
    let pointers: Vec<_> = faults.iter().map(|fault| text(&fault["pointer"])).collect();
    assert_eq!(pointers, ["#/personas/1", "#/personas/3"]);
}

#[tokio::test]
async fn more_personas_than_a_turn_may_have_are_refused_and_mentions_beyond_are_left_out() {
    let app = TestApp::with(at_most_two).await;
    let refused =
        app.post(CHAT, json!({"message": "hi", "personas": ["guide", "skeptic", "historian"]})).await;
    assert_eq!((refused.status, refused.code()), (400, "invalid_request"));
    assert_eq!(refused.body["errors"][0]["pointer"], "#/personas");
    let mentioned = route(&app, "@historian @guide @skeptic hello").await;
    assert_eq!(chose(mentioned), answered(&["historian", "guide"], "mention"));
    app.model.rules([chooses(r#"{"personas": ["skeptic", "guide", "historian"], "reason": "all"}"#)]);
    assert_eq!(chose(route(&app, "hello").await), answered(&["skeptic", "guide"], "model"));
}

fn at_most_two(config: &mut Config) {
    config.turns.max_personas = 2.try_into().unwrap();
}
