//! What may be said on a socket, and what happens otherwise.

use futures_util::SinkExt as _;
use polylogue::telemetry::metrics::{Direction, Frame, SocketEnd};
use proptest::prelude::*;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::rig::{Client, Replica};

const TURN: &str = "01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2";

async fn socket() -> (Replica, Client) {
    let replica = Replica::start();
    let socket = replica.socket(1).await;
    (replica, socket)
}

#[tokio::test(start_paused = true)]
async fn the_first_frame_says_what_a_client_needs_to_know() {
    let (_replica, socket) = socket().await;
    let hello = socket.hello;
    assert_eq!(hello["type"], "hello");
    assert_eq!(hello["protocol"], "polylogue.v1");
    assert_eq!(hello["connection_id"].as_str().unwrap().len(), 26);
    assert_eq!(hello["heartbeat_interval_ms"], 30_000);
    assert_eq!(hello["idle_timeout_ms"], 3_600_000);
    assert_eq!(hello["limits"]["max_message_bytes"], 524_288);
    assert_eq!(hello["limits"]["max_turns"], 8);
    assert!(hello["limits"]["rate_limits"].is_array());
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_under_its_reference_or_none() {
    let (replica, mut socket) = socket().await;
    let pong = socket.ask(r#"{"type":"ping","ref":"c-5"}"#).await;
    assert_eq!((&pong["type"], &pong["ref"]), (&json!("pong"), &json!("c-5")));
    assert!(pong["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(socket.ask(r#"{"type":"ping"}"#).await.get("ref"), None);
    assert_eq!(replica.metrics.websocket.messages.get(&(Direction::In, Frame::Ping)), 2);
    assert_eq!(replica.metrics.websocket.messages.get(&(Direction::Out, Frame::Pong)), 2);
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_gets_an_error_and_the_socket_lives() {
    let (_replica, mut socket) = socket().await;
    let long = format!(r#"{{"type":"ping","ref":"{}"}}"#, "x".repeat(65));
    let cases: &[(&str, Option<&str>, &str)] = &[
        ("", None, ""),
        ("not json", None, ""),
        ("[]", None, ""),
        ("{}", None, "#/type"),
        (r#"{"type":1,"ref":"r"}"#, Some("r"), "#/type"),
        (r#"{"type":"shout","ref":"r"}"#, Some("r"), "#/type"),
        (r#"{"type":"hello","ref":"r"}"#, Some("r"), "#/type"),
        (r#"{"type":"ping","ref":""}"#, None, "#/ref"),
        (r#"{"type":"ping","ref":"ä"}"#, None, "#/ref"),
        (r#"{"type":"ping","ref":"a b"}"#, None, "#/ref"),
        (&long, None, "#/ref"),
        (r#"{"type":"ping","ref":"r","more":1}"#, Some("r"), "#"),
        (r#"{"type":"chat","message":"hi"}"#, None, "#/ref"),
        (r#"{"type":"chat","ref":"r","message":" "}"#, Some("r"), "#/message"),
        (r#"{"type":"chat","ref":"r","message":"hi","temperature":2}"#, Some("r"), ""),
        (r#"{"type":"cancel","ref":"r"}"#, Some("r"), "#/turn_id"),
        (r#"{"type":"resume","ref":"r","turn_id":"x"}"#, Some("r"), "#/turn_id"),
        (r#"{"type":"auth","ref":"r"}"#, Some("r"), "#/token"),
    ];
    for (text, reference, pointer) in cases {
        let frame = socket.ask(*text).await;
        assert_eq!(frame["type"], "error", "{text}");
        assert_eq!(frame["ref"].as_str(), *reference, "{text}");
        assert_eq!(frame["error"]["code"], "invalid_request", "{text}");
        assert!(frame["error"]["request_id"].is_string(), "{text}");
        let found = frame["error"]["errors"][0]["pointer"].as_str().unwrap_or_default();
        assert!(pointer.is_empty() || found == *pointer, "{text}: {frame}");
    }
    assert!(socket.is_alive().await);
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_is_answered_under_its_reference() {
    let (_replica, mut socket) = socket().await;
    for text in [
        json!({"type": "chat", "ref": "r\"\\", "message": "was Troy real?", "personas": ["nobody"]}),
        json!({"type": "resume", "ref": "r\"\\", "turn_id": TURN, "after": "1-5"}),
        json!({"type": "cancel", "ref": "r\"\\", "turn_id": TURN}),
    ] {
        let frame = socket.ask(text.to_string()).await;
        assert_eq!((&frame["type"], &frame["ref"]), (&json!("error"), &json!("r\"\\")), "{text}");
    }
    let auth = socket.ask(r#"{"type":"auth","ref":"r","token":"secret"}"#).await;
    assert_eq!(auth["error"]["code"], "invalid_request");
    assert!(!auth.to_string().contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn a_position_that_is_no_event_id_has_a_code_of_its_own() {
    let (_replica, mut socket) = socket().await;
    let frame = json!({"type": "resume", "ref": "r", "turn_id": TURN, "after": "01-1"});
    assert_eq!(socket.ask(frame.to_string()).await["error"]["code"], "invalid_event_id");
}

#[tokio::test(start_paused = true)]
async fn more_than_fifty_frames_a_second_close_the_socket() {
    let (_replica, mut socket) = socket().await;
    for _ in 0..51 {
        socket.stream.feed(Message::text(r#"{"type":"ping"}"#)).await.unwrap();
    }
    socket.stream.flush().await.unwrap();
    assert_eq!(socket.end().await, Some((1008, "policy_violation".into())));
}

#[tokio::test(start_paused = true)]
async fn a_binary_frame_closes_the_socket() {
    let (_replica, mut socket) = socket().await;
    socket.stream.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(socket.end().await, Some((1003, "unsupported_data".into())));
}

#[tokio::test(start_paused = true)]
async fn a_message_over_the_limit_closes_the_socket_and_one_at_the_limit_does_not() {
    let (_replica, mut socket) = socket().await;
    let answer = socket.ask("x".repeat(512 * 1024)).await;
    assert_eq!(answer["type"], "error");

    // The server stops reading in the middle of it; what matters is that its reason arrives.
    let _ = socket.stream.send(Message::text("x".repeat(512 * 1024 + 1))).await;
    assert_eq!(socket.end().await, Some((1009, "message_too_big".into())));
}

#[tokio::test(start_paused = true)]
async fn text_that_is_not_utf8_closes_the_socket() {
    let (_replica, mut socket) = socket().await;
    let masked_by_zeros = [0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28];
    socket.stream.get_mut().write_all(&masked_by_zeros).await.unwrap();
    assert_eq!(socket.end().await, Some((1007, "invalid_utf8".into())));
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_breaks_the_protocol_closes_the_socket() {
    let (replica, mut socket) = socket().await;
    let reserved_bits = [0xf1, 0x80, 0, 0, 0, 0];
    socket.stream.get_mut().write_all(&reserved_bits).await.unwrap();
    assert_eq!(socket.end().await, Some((1002, "protocol_error".into())));
    assert_eq!(replica.metrics.websocket.closed.get(&(SocketEnd::ProtocolError,)), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_s_close_is_answered_in_kind() {
    let (replica, mut socket) = socket().await;
    let bye = CloseFrame { code: CloseCode::Normal, reason: "done".into() };
    socket.stream.close(Some(bye)).await.unwrap();
    assert_eq!(socket.end().await.map(|(code, _)| code), Some(1000));
    assert_eq!(replica.metrics.websocket.closed.get(&(SocketEnd::Normal,)), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_text_whatsoever_closes_a_socket(texts in proptest::collection::vec(text(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (_replica, mut socket) = socket().await;
            for text in texts {
                let answer = socket.ask(text).await;
                prop_assert!(answer["type"] == "error" || answer["type"] == "pong", "{answer}");
            }
            prop_assert!(socket.is_alive().await);
            Ok(())
        })?;
    }
}

/// Any text; and JSON that is nearly a frame.
fn text() -> impl Strategy<Value = String> {
    let word = prop_oneof!["chat|resume|cancel|auth|ping", "[ -~]{0,70}", any::<String>()];
    let value = prop_oneof![
        word.prop_map(|word| json!(word)),
        any::<i64>().prop_map(|number| json!(number)),
        Just(json!(null)),
        Just(json!(TURN)),
        Just(json!([["x"], {}])),
    ];
    let name = prop_oneof!["type|ref|message|turn_id|after|personas|metadata|on_busy|token", any::<String>()];
    let frame = proptest::collection::btree_map(name, value, 0..6);
    prop_oneof![any::<String>(), frame.prop_map(|members| json!(members).to_string())]
}
