//! Everything that comes over the wire in a test is read with the documented schemas too: they take no member that is
//! not documented.

use poem_openapi::types::ParseFromJSON;
use polylogue::http::wire::{Problem, Turn, TurnEvent};
use polylogue::words::EventBody;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::Value;

/// An event of a turn.
pub fn event(data: &Value) {
    read::<TurnEvent>(data);
}

/// A frame of the socket: an event has a reference, an error a problem.
pub fn frame(frame: Value) -> Value {
    let kind = frame["type"].as_str().unwrap_or_default();
    if EventBody::NAMES.contains(&kind) {
        let mut bare = frame.clone();
        bare.as_object_mut().unwrap().remove("ref").expect("an event on a socket has a ref");
        read::<TurnEvent>(&bare);
    }
    if kind == "error" {
        read::<Problem>(&frame["error"]);
    }
    frame
}

/// An answer: a problem, or something that looks like a turn.
pub fn answer(headers: &HeaderMap, body: &Value) {
    if headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json") {
        read::<Problem>(body);
    } else if body.get("turn_id").is_some() {
        read::<Turn>(body);
    }
}

fn read<T: ParseFromJSON>(value: &Value) {
    if let Err(error) = T::parse_from_json(Some(value.clone())) {
        panic!("not as documented: {} in {value:#}", error.into_message());
    }
}
