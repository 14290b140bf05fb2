//! Many at once.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use polylogue::simulator::Rule;
use serde_json::{Value, json};

use super::stage::*;
use crate::support::{TestApp, eventually, span};

fn three() -> Value {
    json!({"message": "was Troy real?", "personas": ["guide", "skeptic", "historian"]})
}

#[tokio::test]
async fn personas_begin_together_and_their_pieces_interleave() {
    let app = TestApp::with(|config| {
        config.simulator.token_gap = span(20);
        config.simulator.tokens = 10.try_into().unwrap();
    })
    .await;
    let events = app.stream(three()).await.rest().await;
    let place = |kind: &str, nth: fn(&[usize]) -> usize| {
        let places: Vec<_> = (0..events.len()).filter(|at| events[*at].name == kind).collect();
        nth(&places)
    };
    let (first, last) = (|places: &[usize]| places[0], |places: &[usize]| places[places.len() - 1]);
    assert!(place("reply.started", last) < place("reply.delta", first), "all begin before any speaks");
    assert!(place("reply.completed", first) > place("reply.delta", first));

    let deltas: Vec<_> = events.iter().filter(|event| event.name == "reply.delta").collect();
    let changes = deltas.windows(2).filter(|pair| pair[0].data["persona"] != pair[1].data["persona"]).count();
    assert!(changes >= 6, "one after the other would change twice, not {changes} times");
}

#[tokio::test]
async fn the_model_is_asked_for_all_personas_at_the_same_time() {
    let app = TestApp::start().await;
    app.model.rules([story()]);
    let started = app.post(TURNS, three()).await;
    eventually("all three are being answered", async || app.model.stats().in_flight == 3).await;
    app.model.go_on();
    let turn = ended(&app, started.header("turn-id")).await;
    assert_eq!(turn["status"], "completed");
}

#[tokio::test]
async fn one_slow_persona_holds_up_only_the_turns_end() {
    let app = TestApp::start().await;
    app.model.rules([story().when_contains(GUIDE), Rule::says(["Quick."])]);
    let mut stream = app.stream(three()).await;
    let mut done = BTreeSet::new();
    while done.len() < 2 {
        let completed = stream.until("reply.completed").await.pop().unwrap();
        done.insert(text(&completed.data["persona"]).to_owned());
    }
    assert_eq!(done, BTreeSet::from(["historian".to_owned(), "skeptic".to_owned()]));
    assert_eq!(read(&app, &stream.turn()).await["status"], "running");
    app.model.go_on();
    assert_eq!(kinds(&stream.rest().await).last(), Some(&"turn.completed"));
}

#[tokio::test]
async fn a_hundred_requests_share_one_client_and_the_next_hundred_its_connections() {
    let app = TestApp::start().await;
    let wave = async || {
        app.model.rules([story()]);
        let asked = (0..100).map(|_| app.post(CHAT, json!({"message": "hello", "personas": ["guide"]})));
        let together = async {
            eventually("all are being answered at once", async || app.model.stats().in_flight == 100).await;
            app.model.rules([]);
            app.model.go_on();
        };
        let (answers, ()) = tokio::join!(join_all(asked), together);
        assert!(answers.iter().all(|answer| answer.status == 200));
        let turns: BTreeSet<_> = answers.iter().map(|answer| text(&answer.body["turn_id"])).collect();
        let talks: BTreeSet<_> =
            answers.iter().map(|answer| text(&answer.body["conversation"]["id"])).collect();
        assert_eq!((turns.len(), talks.len()), (100, 100));
        app.model.stats().connections
    };
    let first = wave().await;
    assert!(first <= 100, "{first} connections for a hundred requests");
    let second = wave().await;
    assert!(second - first <= 5, "{} new connections though {first} were there", second - first);
    assert_eq!(app.metric("turns_total{outcome=\"completed\"}"), 200.0);
    assert_eq!(app.metric("turns_in_flight"), 0.0);
}

#[tokio::test]
async fn turns_of_one_conversation_that_race_run_one_at_a_time() {
    let app = TestApp::start().await;
    let race = (0..20).map(|_| app.post(TURNS, ask("race")));
    let answers = join_all(race).await;
    let accepted: Vec<_> = answers.iter().filter(|answer| answer.status == 202).collect();
    assert!(!accepted.is_empty());
    assert!(answers.iter().all(|answer| answer.status == 202 || answer.code() == "turn_in_progress"));
    for answer in &accepted {
        assert_eq!(ended(&app, answer.header("turn-id")).await["status"], "completed");
    }
    let said = said(&app, "race").await;
    let who: Vec<_> = said.iter().map(|(who, ..)| who.as_str()).collect();
    assert_eq!(who, ["user", "guide"].repeat(accepted.len()).into_iter().take(20).collect::<Vec<_>>());
}
