//! A caller that may ask only some personas: the others do not exist.

use polylogue::chat::{Caller, ChatError, ChatRequest, OnBusy};
use polylogue::simulator::Rule;
use polylogue::telemetry::metrics::Transport;
use polylogue::words::{AllowedPersonas, ClientAddress, PersonaId, Principal, RequestId, Turn};
use tokio::time::Instant;

use super::stage::ROUTING;
use crate::support::TestApp;

fn caller(allowed: &[&str]) -> Caller {
    Caller {
        principal: Principal::Address(ClientAddress::from(std::net::IpAddr::from([192, 0, 2, 1]))),
        personas: AllowedPersonas::only(allowed.iter().map(|id| id.parse().unwrap())),
        request_id: RequestId::random(),
        transport: Transport::Json,
        arrived: Instant::now(),
        idempotency_key: None,
    }
}

fn request(message: &str, personas: &[&str]) -> ChatRequest {
    ChatRequest {
        message: message.to_owned(),
        conversation_id: None,
        personas: personas.iter().map(|id| id.parse().unwrap()).collect(),
        on_busy: OnBusy::Reject,
        metadata: Default::default(),
    }
}

async fn ask(app: &TestApp, allowed: &[&str], request: ChatRequest) -> Result<Turn, ChatError> {
    let (chat, caller) = (&app.app.services().chat, caller(allowed));
    let started = chat.start(&caller, request).await?;
    chat.wait(&caller, started.turn).await
}

/// Who answered, and which way that was decided.
async fn routed(app: &TestApp, allowed: &[&str], message: &str) -> (Vec<String>, String) {
    let routing = ask(app, allowed, request(message, &[])).await.unwrap().routing.unwrap();
    let source = serde_json::to_value(routing.source).unwrap();
    (routing.personas.iter().map(ToString::to_string).collect(), source.as_str().unwrap().to_owned())
}

fn answered(personas: &[&str], source: &str) -> (Vec<String>, String) {
    (personas.iter().map(|id| (*id).to_owned()).collect(), source.to_owned())
}

const TWO: [&str; 2] = ["skeptic", "historian"];

#[tokio::test]
async fn asking_for_one_that_is_not_allowed_is_refused_like_asking_for_one_that_is_not_there() {
    let app = TestApp::start().await;
    let mut told = Vec::new();
    for stranger in ["guide", "nobody"] {
        match ask(&app, &TWO, request("hello", &["skeptic", stranger])).await {
            Err(error @ ChatError::UnknownPersonas(_)) => told.push((error.failure(), error.to_string())),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told[0], told[1]);
    assert!(matches!(ask(&app, &["nobody"], request("hello", &[])).await, Err(ChatError::NoPersonaAllowed)));
}

#[tokio::test]
async fn only_allowed_personas_are_listed_and_read() {
    let app = TestApp::start().await;
    let chat = &app.app.services().chat;
    let ids = |caller| chat.personas(&caller).into_iter().map(|it| it.id.to_string()).collect::<Vec<_>>();
    assert_eq!(ids(caller(&TWO)), TWO);
    assert_eq!(ids(caller(&[])), [""; 0]);
    let guide: PersonaId = "guide".parse().unwrap();
    assert!(matches!(chat.persona(&caller(&TWO), &guide), Err(ChatError::PersonaNotFound)));
    assert!(chat.persona(&caller(&["guide"]), &guide).is_ok());
}

#[tokio::test]
async fn whichever_way_is_decided_nobody_answers_who_is_not_allowed() {
    let app = TestApp::start().await;
    assert_eq!(routed(&app, &["historian"], "@guide hello").await, answered(&["historian"], "single"));
    assert_eq!(routed(&app, &TWO, "@guide @historian hello").await, answered(&["historian"], "mention"));

    app.model.rules([Rule::says([r#"{"personas": ["guide"], "reason": "x"}"#]).when_contains(ROUTING)]);
    assert_eq!(routed(&app, &TWO, "who?").await, answered(&["skeptic"], "fallback"));

    let both = r#"{"personas": ["guide", "historian"], "reason": "x"}"#;
    app.model.rules([Rule::says([both]).when_contains(ROUTING)]);
    assert_eq!(routed(&app, &TWO, "when?").await, answered(&["historian"], "model"));
    assert_eq!(routed(&app, &TWO, "when?").await, answered(&["historian"], "cache"));
    let all = ["guide", "skeptic", "historian"];
    assert_eq!(routed(&app, &all, "when?").await, answered(&["guide", "historian"], "model"));
    assert_eq!(routed(&app, &["guide", "skeptic"], "when?").await, answered(&["guide"], "model"));
}

#[tokio::test]
async fn routing_is_told_of_nobody_who_is_not_allowed() {
    let app = TestApp::start().await;
    let tells = Rule::says([r#"{"personas": ["skeptic"], "reason": "it was told of guide"}"#]);
    let quiet = Rule::says([r#"{"personas": ["historian"], "reason": "it was not"}"#]);
    app.model.rules([tells.when_contains("- guide:"), quiet.when_contains(ROUTING)]);
    assert_eq!(routed(&app, &TWO, "who?").await, answered(&["historian"], "model"));
    let all = ["guide", "skeptic", "historian"];
    assert_eq!(routed(&app, &all, "who?").await, answered(&["skeptic"], "model"));
}

#[tokio::test]
async fn a_decision_made_for_one_caller_is_not_told_to_another() {
    let app = TestApp::start().await;
    let (chat, chosen) =
        (&app.app.services().chat, r#"{"personas": ["guide"], "reason": "a secret of ada"}"#);
    app.model.rules([Rule::says([chosen]).when_contains(ROUTING)]);
    let mut sources = Vec::new();
    for last in [1, 1, 2] {
        let address = ClientAddress::from(std::net::IpAddr::from([192, 0, 2, last]));
        let caller = Caller {
            principal: Principal::Address(address),
            personas: AllowedPersonas::all(),
            ..caller(&[])
        };
        let started = chat.start(&caller, request("yes", &[])).await.unwrap();
        let routing = chat.wait(&caller, started.turn).await.unwrap().routing.unwrap();
        sources.push(serde_json::to_value(routing.source).unwrap());
    }
    assert_eq!(sources, ["model", "cache", "model"]);
}
