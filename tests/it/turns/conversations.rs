//! What was said: read, added to, forgotten.

use polylogue::chat::{AddMessage, Caller};
use polylogue::simulator::Rule;
use polylogue::telemetry::metrics::Transport;
use polylogue::words::{AllowedPersonas, ClientAddress, Principal, RequestId, Role};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::stage::*;
use crate::support::{Scratch, TestApp, eventually};

const PATH: &str = "/api/v1/conversations/talk";

async fn add(app: &TestApp, content: &str) -> Value {
    let added = app.post(&format!("{PATH}/messages"), json!({"role": "user", "content": content})).await;
    assert_eq!(added.status, 201, "{added:?}");
    added.body
}

/// A page: what was said, and whether there is more.
async fn page(app: &TestApp, query: &str) -> (Vec<String>, bool) {
    let page = app.get(&format!("{PATH}/messages?{query}")).await;
    assert_eq!(page.status, 200, "{page:?}");
    let said = page.body["data"].as_array().unwrap().iter();
    (said.map(|message| text(&message["content"]).to_owned()).collect(), page.body["has_more"] == true)
}

#[tokio::test]
async fn messages_are_read_page_by_page_in_both_orders() {
    let app = TestApp::start().await;
    let mut ids = Vec::new();
    for number in 1..=5 {
        ids.push(text(&add(&app, &number.to_string()).await["id"]).to_owned());
    }
    let of = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    assert_eq!(page(&app, "").await, (of(&["1", "2", "3", "4", "5"]), false));
    assert_eq!(page(&app, "limit=2").await, (of(&["1", "2"]), true));
    assert_eq!(page(&app, &format!("limit=2&after={}", ids[1])).await, (of(&["3", "4"]), true));
    assert_eq!(page(&app, &format!("limit=2&after={}", ids[3])).await, (of(&["5"]), false));
    assert_eq!(page(&app, "limit=2&order=desc").await, (of(&["5", "4"]), true));
    assert_eq!(page(&app, &format!("limit=2&order=desc&before={}", ids[3])).await, (of(&["3", "2"]), true));
    assert_eq!(page(&app, &format!("limit=2&order=desc&before={}", ids[1])).await, (of(&["1"]), false));
    assert_eq!(page(&app, &format!("after={}", ids[4])).await, (of(&[]), false));
}

#[tokio::test]
async fn a_page_that_cannot_be_is_refused_with_all_its_faults() {
    let app = TestApp::start().await;
    add(&app, "one").await;
    for limit in ["0", "101", "-1", "many"] {
        let refused = app.get(&format!("{PATH}/messages?limit={limit}&order=up&before=x")).await;
        assert_eq!((refused.status, refused.code()), (400, "invalid_request"), "{limit}");
        let faults = refused.body["errors"].as_array().unwrap().iter();
        let parameters: Vec<_> = faults.map(|fault| text(&fault["parameter"])).collect();
        assert_eq!(parameters.len(), 3, "{parameters:?}");
        assert!(["limit", "order", "before"].iter().all(|name| parameters.contains(name)));
    }
}

#[tokio::test]
async fn only_the_newest_twenty_messages_are_kept() {
    let app = TestApp::start().await;
    for number in 1..=25 {
        add(&app, &number.to_string()).await;
    }
    assert_eq!(app.get(PATH).await.body["message_count"], 20);
    let (said, more) = page(&app, "limit=100").await;
    assert_eq!((said.len(), said[0].as_str(), said[19].as_str(), more), (20, "6", "25", false));
}

#[tokio::test]
async fn a_conversation_names_the_turn_it_is_answering_and_takes_no_message_meanwhile() {
    let app = TestApp::start().await;
    let reader = half_told(&app, ask("talk")).await;
    let view = app.get(PATH).await.body;
    assert_eq!((&view["active_turn_id"], &view["message_count"]), (&json!(reader.turn()), &json!(1)));
    let refused = app.post(&format!("{PATH}/messages"), json!({"role": "user", "content": "wait"})).await;
    assert_eq!((refused.status, refused.code()), (409, "turn_in_progress"));
    assert_eq!(refused.body["turn_id"], reader.turn());

    app.model.go_on();
    reader.rest().await;
    assert_eq!(app.get(PATH).await.body.get("active_turn_id"), None);
    add(&app, "now").await;
    assert_eq!(app.get(PATH).await.body["message_count"], 3);
}

#[tokio::test]
async fn forgetting_a_conversation_cancels_its_turn_and_nothing_comes_back() {
    let app = TestApp::start().await;
    let reader = half_told(&app, ask("talk")).await;
    assert_eq!(app.delete(PATH).await.status, 204);
    let events = reader.rest().await;
    assert_eq!(kinds(&events), ["reply.cancelled", "turn.cancelled"]);
    assert_eq!(events[1].data["reason"], "deleted");
    assert_eq!(app.get(PATH).await.code(), "conversation_not_found");
    until_idle(&app).await;
    assert_eq!(app.get(&format!("{PATH}/messages")).await.code(), "conversation_not_found");

    app.model.rules([]);
    let answer = app.post(CHAT, ask("talk")).await;
    assert_eq!((answer.status, &answer.body["conversation"]["created"]), (200, &json!(true)));
    assert_eq!(said(&app, "talk").await.len(), 2);
}

#[tokio::test]
async fn a_conversation_is_forgotten_whole_however_fast_it_was_filled_and_can_begin_again_at_once() {
    let app = TestApp::start().await;
    let (chat, id) = (app.app.services().chat.clone(), "talk".parse().unwrap());
    let address = ClientAddress::from(std::net::IpAddr::from([192, 0, 2, 1]));
    let caller = Caller {
        principal: Principal::Address(address),
        personas: AllowedPersonas::all(),
        request_id: RequestId::random(),
        transport: Transport::Json,
        arrived: Instant::now(),
        idempotency_key: None,
    };
    let message = || AddMessage { role: Role::User, persona: None, content: "again".into() };
    for _ in 0..10 {
        for _ in 0..20 {
            chat.add_message(&caller, &id, message()).await.unwrap();
        }
        chat.forget(&caller, &id).await.unwrap();
        assert!(chat.conversation(&caller, &id).await.is_err(), "something was left");
        chat.add_message(&caller, &id, message()).await.unwrap();
        assert_eq!(chat.conversation(&caller, &id).await.unwrap().message_count, 1);
    }
}

#[tokio::test]
async fn what_cannot_be_the_id_of_a_conversation_is_not_found_and_refused_in_a_request() {
    let app = TestApp::start().await;
    for id in ["with%20space", "%C3%BCml%C3%A4ut", &"x".repeat(65)] {
        for path in [format!("/api/v1/conversations/{id}"), format!("/api/v1/conversations/{id}/messages")] {
            let answer = app.get(&path).await;
            assert_eq!((answer.status, answer.code()), (404, "conversation_not_found"), "{path}");
        }
    }
    let refused = app.post(CHAT, ask("with space")).await;
    assert_eq!((refused.status, refused.code()), (400, "invalid_request"));
    assert_eq!(refused.body["errors"][0]["pointer"], "#/conversation_id");
}

#[tokio::test]
async fn a_model_is_told_what_was_said_before_and_a_persona_by_itself_only_its_own_part() {
    let personas = include_str!("../../../config/personas.toml");
    let (others, skeptic) = personas.split_at(personas.find("aliases = [\"critic\"").unwrap());
    let skeptic = skeptic.replacen("context = \"shared\"", "context = \"own\"", 1);
    let file = Scratch::file("toml", &format!("{others}{skeptic}"));
    let app = TestApp::with(|config| config.personas.file = Some(file.path())).await;
    app.model.rules([Rule::says(["Yes."])]);
    let both = with(ask("talk"), json!({"personas": ["guide", "skeptic"]}));
    for _ in 0..2 {
        assert_eq!(app.post(CHAT, both.clone()).await.status, 200);
    }
    eventually("all requests are there", async || app.model.stats().requests == 4).await;
    let mut told: Vec<_> = app.model.stats().last.iter().map(|seen| seen.messages).collect();
    told.sort_unstable();
    // Instructions and the message; then, with own context, question and own answer; shared, the other's too.
    assert_eq!(told, [2, 2, 4, 5]);
}
