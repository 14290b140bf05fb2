use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::SseEvent;

/// What a client that obeys `reply.reset` has in front of it after these events: for each persona its status, its text
/// piece by piece, and the whole text it was given.
pub fn applied(events: &[SseEvent]) -> BTreeMap<String, Value> {
    let mut replies: BTreeMap<String, Value> = BTreeMap::new();
    for event in events.iter().map(|event| &event.data) {
        let Some(persona) = event["persona"].as_str() else { continue };
        let reply = replies.entry(persona.to_owned()).or_default();
        let kind = event["type"].as_str().unwrap();
        match kind {
            "reply.reset" => *reply = Value::Null,
            "reply.started" => *reply = json!({"text": ""}),
            "reply.delta" => {
                let text = [&reply["text"], &event["text"]].map(|text| text.as_str().unwrap_or("?")).concat();
                reply["text"] = text.into();
            }
            _ => (reply["end"], reply["content"]) = (kind.into(), event["content"].clone()),
        }
    }
    replies
}
