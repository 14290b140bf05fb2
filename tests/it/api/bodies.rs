//! A body's faults are told together, each with its place.

use polylogue::chat::{AddMessage, ChatRequest, OnBusy};
use polylogue::http::body::{Bounds, FromBody, chat_request};
use polylogue::http::problem::Fault;
use serde_json::{Map, Value, json};

fn members(body: Value) -> Map<String, Value> {
    body.as_object().unwrap().clone()
}

fn chat(body: Value) -> Result<ChatRequest, Vec<Fault>> {
    chat_request(&members(body), 3)
}

fn pointers(faults: Vec<Fault>) -> Vec<String> {
    faults.into_iter().map(|fault| fault.pointer.unwrap()).collect()
}

#[test]
fn only_the_message_is_required() {
    let request = chat(json!({"message": "hello"})).unwrap();
    assert_eq!(request.message, "hello");
    assert_eq!((request.on_busy, request.personas.len(), request.metadata.len()), (OnBusy::Reject, 0, 0));
    assert!(request.conversation_id.is_none());
}

#[test]
fn every_member_arrives() {
    let request = chat(json!({
        "message": " \u{1F600} ", "conversation_id": "team-42", "personas": ["historian", "skeptic"],
        "on_busy": "interrupt", "metadata": {"ui": "web"}
    }));
    let request = request.unwrap();
    assert_eq!(request.conversation_id.unwrap().as_str(), "team-42");
    assert_eq!(request.personas.len(), 2);
    assert_eq!(request.on_busy, OnBusy::Interrupt);
    assert_eq!(request.metadata["ui"], "web");
}

#[test]
fn a_message_is_measured_in_code_points() {
    assert!(chat(json!({"message": "é".repeat(32_768)})).is_ok());
    assert_eq!(pointers(chat(json!({"message": "é".repeat(32_769)})).unwrap_err()), ["#/message"]);
}

#[test]
fn each_fault_has_its_pointer() {
    let pairs: Map<String, Value> = (0..17).map(|n| (n.to_string(), "x".into())).collect();
    let table = [
        (json!({}), vec!["#/message"]),
        (json!({"message": null}), vec!["#/message"]),
        (json!({"message": 1}), vec!["#/message"]),
        (json!({"message": ""}), vec!["#/message"]),
        (json!({"message": " \n\t\u{2003}"}), vec!["#/message"]),
        (json!({"message": "a", "conversation_id": "a b"}), vec!["#/conversation_id"]),
        (json!({"message": "a", "conversation_id": null}), vec!["#/conversation_id"]),
        (json!({"message": "a", "personas": "historian"}), vec!["#/personas"]),
        (json!({"message": "a", "personas": ["a", "b", "c", "d"]}), vec!["#/personas"]),
        (json!({"message": "a", "personas": ["a", "A", "a"]}), vec!["#/personas/1", "#/personas/2"]),
        (json!({"message": "a", "on_busy": "queue"}), vec!["#/on_busy"]),
        (json!({"message": "a", "metadata": []}), vec!["#/metadata"]),
        (json!({"message": "a", "metadata": pairs}), vec!["#/metadata"]),
        (json!({"message": "a", "metadata": {"n": 1}}), vec!["#/metadata"]),
        (json!({"message": "a", "metadata": {"n": "x".repeat(513)}}), vec!["#/metadata"]),
        (json!({"message": "a", "metadata": {"": "x"}}), vec!["#/metadata"]),
        (json!({"message": "a", "Personas": []}), vec!["#"]),
        (json!({"message": "a", "a/b~c é": 1}), vec!["#"]),
        (json!({"message": "a", "x".repeat(65): 1}), vec!["#"]),
        (
            json!({"stream": true, "message": "", "conversation_id": "", "on_busy": 1}),
            vec!["#", "#/message", "#/conversation_id", "#/on_busy"],
        ),
    ];
    for (body, expected) in table {
        let shown = body.to_string();
        assert_eq!(pointers(chat(body).unwrap_err()), expected, "{shown:.80}");
    }
}

#[test]
fn a_fault_says_what_must_be_and_never_what_was() {
    let faults = chat(json!({
        "message": "sesame", "conversation_id": "open sesame", "on_busy": "sesame", "sesame": 1,
        "metadata": {"sesame": 1}, "personas": ["Sesame"],
    }));
    let told = format!("{:?}", faults.unwrap_err());
    assert!(!told.to_lowercase().contains("sesame"), "{told}");
}

#[test]
fn a_thousand_faults_make_a_short_answer() {
    let mut body: Map<String, Value> = (0..1000).map(|n| (format!("member-{n}"), n.into())).collect();
    body.insert("metadata".into(), (0..16).map(|n| (n.to_string(), n.into())).collect::<Map<_, _>>().into());
    body.insert("personas".into(), vec![Value::Null; 1000].into());
    assert_eq!(chat_request(&body, 1000).unwrap_err().len(), 32);
}

#[test]
fn only_an_assistant_has_a_persona() {
    let add = |body| AddMessage::from_members(&members(body), Bounds { max_personas: 3 });
    assert!(add(json!({"role": "assistant", "persona": "historian", "content": "a"})).is_ok());
    assert!(add(json!({"role": "user", "content": "a"})).is_ok());
    let faults = add(json!({"role": "user", "persona": "historian", "content": " "})).unwrap_err();
    assert_eq!(pointers(faults), ["#/content", "#/persona"]);
    assert_eq!(pointers(add(json!({"role": "system"})).unwrap_err()), ["#/role", "#/content"]);
}
