//! The examples of the contract, read and written by the program's types and by the documented ones.

use poem_openapi::types::{ParseFromJSON, ToJSON};
use polylogue::chat;
use polylogue::http::body::chat_request;
use polylogue::http::problem::{Fault, Problem};
use polylogue::http::wire;
use polylogue::words::{ErrorCode, Event, Failure, Message, RequestId, Timestamp, Turn};
use serde_json::{Value, json};

const EVENTS: [&str; 11] = [
    r#"{"type":"turn.started","id":"1-1","turn_id":"01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2","time":"2026-11-23T19:00:00.121Z","conversation":{"id":"team-42","created":false},"message_id":"01KASQ6W8V3Z0Q4T5Y7M2N9PBD"}"#,
    r#"{"type":"routing.decided","id":"1-2","turn_id":"01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2","time":"2026-11-23T19:00:00.122Z","routing":{"personas":["historian","skeptic"],"source":"explicit","reason":"asked for by the caller"}}"#,
    r#"{"type":"reply.started","id":"1-3","turn_id":"01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2","time":"2026-11-23T19:00:00.123Z","persona":"historian"}"#,
    r#"{"type":"reply.delta","id":"1-5","turn_id":"01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2","time":"2026-11-23T19:00:00.410Z","persona":"historian","text":"There was"}"#,
    r#"{"type":"reply.reset","id":"2-1","turn_id":"01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2","time":"2026-11-23T19:00:09.000Z","persona":"historian","reason":"takeover"}"#,
    r#"{"type":"reply.completed","id":"1-40","turn_id":"01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2","time":"2026-11-23T19:00:01.900Z","persona":"historian","message_id":"01KASQ6Z1D8R6E0W3K5J7H2GFA","content":"There was a city at Hisarlik, and it burned.","finish_reason":"stop","model":"gpt-5-mini","usage":{"input_tokens":212,"output_tokens":11,"total_tokens":223}}"#,
    r#"{"type":"reply.failed","id":"1-56","turn_id":"01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2","time":"2026-11-23T19:00:03.400Z","persona":"skeptic","error":{"type":"/problems/model_timeout","title":"The model took too long","status":504,"code":"model_timeout","detail":"No token arrived within 20 s."}}"#,
    r#"{"type":"reply.cancelled","id":"1-41","turn_id":"01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2","time":"2026-11-23T19:00:02.000Z","persona":"skeptic","message_id":"01KASQ6Z1D8R6E0W3K5J7H2GFB","content":"I would first ask"}"#,
    r#"{"type":"turn.completed","id":"1-57","turn_id":"01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2","time":"2026-11-23T19:00:03.410Z","usage":{"input_tokens":212,"output_tokens":11,"total_tokens":223}}"#,
    r#"{"type":"turn.failed","id":"1-57","turn_id":"01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2","time":"2026-11-23T19:00:03.410Z","error":{"type":"/problems/model_unavailable","title":"The model is not available","status":503,"code":"model_unavailable","detail":"The circuit breaker is open.","retry_after_ms":41000}}"#,
    r#"{"type":"turn.cancelled","id":"1-57","turn_id":"01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2","time":"2026-11-23T19:00:02.010Z","reason":"requested"}"#,
];

fn ended_turn() -> Value {
    json!({
        "turn_id": "01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2",
        "conversation": {"id": "team-42", "created": false},
        "status": "completed",
        "created_at": "2026-11-23T19:00:00.120Z",
        "ended_at": "2026-11-23T19:00:03.410Z",
        "last_event_id": "1-57",
        "message": {
            "id": "01KASQ6W8V3Z0Q4T5Y7M2N9PBD", "role": "user", "content": "@historian @skeptic was Troy real?",
            "created_at": "2026-11-23T19:00:00.120Z"
        },
        "routing": {"personas": ["historian", "skeptic"], "source": "explicit", "reason": "asked for by the caller"},
        "replies": [
            {
                "persona": "historian", "status": "completed", "message_id": "01KASQ6Z1D8R6E0W3K5J7H2GFA",
                "content": "There was a city at Hisarlik, and it burned.", "finish_reason": "stop",
                "model": "gpt-5-mini", "usage": {"input_tokens": 212, "output_tokens": 11, "total_tokens": 223}
            },
            {
                "persona": "skeptic", "status": "failed", "content": "",
                "error": {
                    "type": "/problems/model_timeout", "title": "The model took too long", "status": 504,
                    "code": "model_timeout", "detail": "No token arrived within 20 s."
                }
            }
        ],
        "usage": {"input_tokens": 212, "output_tokens": 11, "total_tokens": 223}
    })
}

/// The documented type takes exactly what is there, and would write the same.
fn documented<D: ParseFromJSON + ToJSON>(example: &Value) {
    let parsed =
        D::parse_from_json(Some(example.clone())).unwrap_or_else(|error| panic!("{}", error.into_message()));
    assert_eq!(parsed.to_json().as_ref(), Some(example));
}

fn both_ways<D, S>(example: Value)
where
    D: ParseFromJSON + ToJSON,
    S: serde::Serialize + serde::de::DeserializeOwned,
{
    let ours: S = serde_json::from_value(example.clone()).unwrap();
    assert_eq!(serde_json::to_value(&ours).unwrap(), example);
    documented::<D>(&example);
}

#[test]
fn a_turn_is_documented_as_it_is_written() {
    both_ways::<wire::Turn, Turn>(ended_turn());
}

#[test]
fn a_turn_with_every_member_is_documented_as_it_is_written() {
    let mut turn = ended_turn();
    turn["error"] = turn["replies"][1]["error"].clone();
    turn["cancel_reason"] = "interrupted".into();
    turn["degraded"] = true.into();
    turn["metadata"] = json!({"ui": "web"});
    turn["message"]["persona"] = "historian".into();
    turn["message"]["cancelled"] = true.into();
    both_ways::<wire::Turn, Turn>(turn.clone());
    both_ways::<wire::Message, Message>(turn["message"].clone());
}

#[test]
fn a_turn_that_has_just_begun_leaves_out_what_it_does_not_know() {
    let mut turn = ended_turn();
    let members = turn.as_object_mut().unwrap();
    for name in ["ended_at", "usage", "routing"] {
        members.remove(name);
    }
    turn["status"] = "running".into();
    turn["replies"] = json!([{"persona": "historian", "status": "pending", "content": ""}]);
    both_ways::<wire::Turn, Turn>(turn);
}

#[test]
fn every_event_is_documented_as_it_is_written() {
    for line in EVENTS {
        let event: Event = serde_json::from_str(line).unwrap();
        assert_eq!(std::str::from_utf8(event.json()).unwrap(), line);
        let value = serde_json::from_str(line).unwrap();
        let read = wire::TurnEvent::parse_from_json(Some(value));
        assert!(read.is_ok(), "{line}: {}", read.unwrap_err().into_message());
    }
}

#[test]
fn the_documented_events_take_nothing_else() {
    let wrong = |change: fn(&mut Value)| {
        let mut event: Value = serde_json::from_str(EVENTS[3]).unwrap();
        change(&mut event);
        assert!(wire::TurnEvent::parse_from_json(Some(event)).is_err());
    };
    wrong(|event| event["extra"] = 1.into());
    wrong(|event| event["type"] = "reply.sung".into());
    wrong(|event| event["persona"] = "No One".into());
    wrong(|event| drop(event.as_object_mut().unwrap().remove("text")));
}

#[test]
fn a_page_of_conversations_is_documented_as_it_is_written() {
    let item = json!({
        "id": "team-42", "created_at": "2026-11-23T19:00:00.120Z", "updated_at": "2026-11-23T19:00:03.410Z",
        "message_count": 3
    });
    let next = "1795460403410.team-42";
    let whole = json!({"data": [item], "has_more": true, "next": next, "degraded": true});
    let millis = |text: &Value| text.as_str().unwrap().parse::<Timestamp>().unwrap();
    let listing = chat::Listing {
        items: vec![chat::ListingItem {
            id: "team-42".parse().unwrap(),
            created_at: millis(&item["created_at"]),
            updated_at: millis(&item["updated_at"]),
            message_count: 3,
        }],
        next: Some(next.parse().unwrap()),
        degraded: true,
    };
    let last = chat::Listing { next: None, degraded: false, ..listing.clone() };
    assert_eq!(serde_json::to_value(wire::ConversationPage::from(listing)).unwrap(), whole);
    documented::<wire::ConversationPage>(&whole);
    let whole = json!({"data": [item], "has_more": false});
    assert_eq!(serde_json::to_value(wire::ConversationPage::from(last)).unwrap(), whole);
    documented::<wire::ConversationPage>(&whole);
}

#[test]
fn a_chat_request_is_documented_as_it_is_read() {
    let request = json!({
        "message": "@historian @skeptic was Troy real?", "conversation_id": "team-42",
        "personas": ["historian", "skeptic"], "on_busy": "reject", "metadata": {"ui": "web"}
    });
    documented::<wire::ChatRequest>(&request);
    let read = chat_request(request.as_object().unwrap(), 5).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), request);
    assert_eq!(serde_json::from_value::<chat::ChatRequest>(request).unwrap(), read);
}

#[test]
fn a_problem_with_every_member_is_documented_as_it_is_written() {
    let wait = std::time::Duration::from_millis(41_250);
    let problem = Problem {
        failure: Failure::new(ErrorCode::RateLimited, "The limit is 100 requests per 60 s.")
            .retry_after(wait),
        errors: vec![Fault::body("#/message", "a"), Fault::parameter("limit", "b"), Fault::header("X", "c")],
        turn: Some("01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2".parse().unwrap()),
        violated_policies: vec!["default".into()],
        cause: None,
    };
    let request_id: RequestId = "7f3c2a9f".parse().unwrap();
    let json = problem.to_json(&request_id, true);
    documented::<wire::Problem>(&json);
    assert_eq!(json.as_object().unwrap().len(), 11, "every member the contract knows");
}
