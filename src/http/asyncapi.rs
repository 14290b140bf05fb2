//! The AsyncAPI document: the socket's frames, with the schemas of the OpenAPI document.

use serde_json::{Map, Value, json};

use super::document::{CLIENT_RULE, openapi_31};
use crate::config::PublicUrl;

/// Schemas taken over as they are; `ChatFrame` is made of `ChatRequest`.
const TAKEN: [&str; 17] = [
    "TurnEvent",
    "TurnStartedEvent",
    "RoutingDecidedEvent",
    "ReplyStartedEvent",
    "ReplyDeltaEvent",
    "ReplyResetEvent",
    "ReplyCompletedEvent",
    "ReplyFailedEvent",
    "ReplyCancelledEvent",
    "TurnCompletedEvent",
    "TurnFailedEvent",
    "TurnCancelledEvent",
    "ConversationRef",
    "Routing",
    "Usage",
    "Problem",
    "Fault",
];

const ABOUT: &str = "\
JSON text frames over one WebSocket, subprotocol `polylogue.v1` (no offer is taken as v1). `ref` is the client's name for a \
request and comes back with everything that answers it; on `chat` it also makes a repetition find the same turn, as \
`Idempotency-Key` does over HTTP. Several turns, of different conversations, may run on one socket. A malformed or unknown \
frame gets an `error`, not a close. After a close, open a new socket and send `resume` with the last event id that was \
seen. ";

const CLOSE_CODES: &str = "\n\n\
| close code | reason | the client should |\n|---|---|---|\n\
| 1000 | normal | nothing |\n\
| 1002, 1003, 1007, 1009 | protocol_error, unsupported_data (binary), invalid_utf8, message_too_big | not reconnect: a bug |\n\
| 1008 | policy_violation | not reconnect |\n\
| 1011 | internal | reconnect with back-off |\n\
| 1012 | service_restart, after `draining` | reconnect after `reconnect_after_ms`, resume |\n\
| 1013 | try_again_later | back off 5 s or more |\n\
| 4000, 4001, 4002 | heartbeat_timeout, idle, slow_reader | reconnect (4001: when the user acts), resume |\n\
| 4500, 4501, 4502 | connection_limit, auth_expired, replaced | not reconnect until something changed |\n";

/// What a client sends: message name, schema, summary.
const FROM_CLIENT: [(&str, &str, &str); 5] = [
    ("chat", "ChatFrame", "Starts a turn, and follows it."),
    ("resume", "ResumeFrame", "Follows a turn again, exactly after an event."),
    ("cancel", "CancelFrame", "Asks for a turn's end; answered by `cancelling`."),
    ("auth", "AuthFrame", "Brings a newer token."),
    ("ping", "PingFrame", "Asks for a `pong`; does not count as use."),
];

/// What the server sends.
const FROM_SERVER: [(&str, &str, &str); 7] = [
    ("hello", "HelloFrame", "The first frame: what this socket may do."),
    ("event", "EventFrame", "An event of a turn that this socket follows."),
    ("cancelling", "CancellingFrame", "A cancel was accepted and takes effect within 2 s."),
    ("error", "ErrorFrame", "A frame could not be served, or a turn cannot be read any longer."),
    ("authenticated", "AuthenticatedFrame", "The newer token counts."),
    ("pong", "PongFrame", "Answers `ping`."),
    ("draining", "DrainingFrame", "This server is stopping; a close with 1012 follows."),
];

/// The document as YAML; the server's address comes from `public_url`, if there is one.
pub fn yaml(public_url: Option<&PublicUrl>) -> String {
    // A tree of texts, numbers and lists can always be written.
    serde_saphyr::to_string(&document(public_url)).unwrap_or_default()
}

/// The document as a tree.
pub fn document(public_url: Option<&PublicUrl>) -> Value {
    let mut document = json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Polylogue over WebSocket",
            "version": env!("CARGO_PKG_VERSION"),
            "description": format!("{ABOUT}{CLIENT_RULE}{CLOSE_CODES}"),
            "license": {"name": "Apache-2.0"}
        },
        "defaultContentType": "application/json"
    });
    if let Some(server) = server(public_url) {
        document["servers"] = server;
    }
    document["channels"] = json!({"chat": {
        "address": "/api/v1/chat/ws",
        "messages": references(&FROM_CLIENT.into_iter().chain(FROM_SERVER).collect::<Vec<_>>()),
        "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}}
    }});
    document["operations"] = json!({
        "receive": operation("receive", "Frames of the client", &FROM_CLIENT),
        "send": operation("send", "Frames of the server", &FROM_SERVER)
    });
    document["components"] = json!({"messages": messages(), "schemas": schemas()});
    document
}

fn server(public_url: Option<&PublicUrl>) -> Option<Value> {
    let (scheme, rest) = public_url?.as_str().split_once("://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let protocol = if scheme == "https" { "wss" } else { "ws" };
    Some(json!({"public": {"host": host, "pathname": format!("/{path}"), "protocol": protocol}}))
}

fn references(frames: &[(&str, &str, &str)]) -> Value {
    let reference = |(name, ..): &(&str, &str, &str)| {
        ((*name).to_owned(), json!({"$ref": format!("#/components/messages/{name}")}))
    };
    frames.iter().map(reference).collect::<Map<_, _>>().into()
}

fn operation(action: &str, summary: &str, frames: &[(&str, &str, &str)]) -> Value {
    let reference =
        |(name, ..): &(&str, &str, &str)| json!({"$ref": format!("#/channels/chat/messages/{name}")});
    json!({
        "action": action,
        "channel": {"$ref": "#/channels/chat"},
        "summary": summary,
        "messages": frames.iter().map(reference).collect::<Vec<_>>()
    })
}

fn messages() -> Value {
    let message = |(name, schema, summary): (&str, &str, &str)| {
        let payload = json!({"$ref": format!("#/components/schemas/{schema}")});
        (name.to_owned(), json!({"name": name, "summary": summary, "payload": payload}))
    };
    FROM_CLIENT.into_iter().chain(FROM_SERVER).map(message).collect::<Map<_, _>>().into()
}

fn schemas() -> Value {
    let openapi = openapi_31(None);
    let known = &openapi["components"]["schemas"];
    let mut schemas = client_frames(&known["ChatRequest"]);
    schemas.extend(server_frames());
    for name in TAKEN {
        schemas.insert(name.to_owned(), as_json_schema(known[name].clone()));
    }
    schemas.into()
}

/// OpenAPI's discriminator is an object with a mapping, AsyncAPI's the name of a member.
fn as_json_schema(mut schema: Value) -> Value {
    if let Some(name) = schema.pointer("/discriminator/propertyName").cloned() {
        schema["discriminator"] = name;
    }
    schema
}

fn client_frames(chat_request: &Value) -> Map<String, Value> {
    let frame = |kind: &str, required: &[&str], own: Value| {
        let mut schema = frame(kind, required, own);
        schema["additionalProperties"] = false.into();
        schema
    };
    let turn_id = json!({"type": "string", "description": "The turn."});
    let after =
        json!({"type": "string", "description": "The last event that was seen; without it from the first."});
    let frames = [
        ("ChatFrame", chat_frame(chat_request)),
        (
            "ResumeFrame",
            frame(
                "resume",
                &["ref", "turn_id"],
                json!({"ref": reference(), "turn_id": turn_id, "after": after}),
            ),
        ),
        (
            "CancelFrame",
            frame("cancel", &["ref", "turn_id"], json!({"ref": reference(), "turn_id": turn_id})),
        ),
        (
            "AuthFrame",
            frame("auth", &["ref", "token"], json!({"ref": reference(), "token": {"type": "string"}})),
        ),
        ("PingFrame", frame("ping", &[], json!({"ref": reference()}))),
    ];
    frames.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// `ChatRequest` with `type` and `ref`.
fn chat_frame(chat_request: &Value) -> Value {
    let mut required = vec![Value::from("ref")];
    required.extend(chat_request["required"].as_array().cloned().unwrap_or_default());
    let mut own = Map::from_iter([("ref".to_owned(), reference())]);
    own.extend(chat_request["properties"].as_object().cloned().unwrap_or_default());
    let required: Vec<&str> = required.iter().filter_map(Value::as_str).collect();
    let mut schema = frame("chat", &required, own.into());
    schema["additionalProperties"] = false.into();
    schema
}

fn server_frames() -> Map<String, Value> {
    let whole = |about: &str| json!({"type": "integer", "minimum": 0, "description": about});
    let time = || json!({"type": "string", "format": "date-time"});
    let problem = json!({"$ref": "#/components/schemas/Problem"});
    let cancelling = json!({
        "ref": reference(), "turn_id": {"type": "string"}, "status": {"type": "string", "description": "How far the turn is."}
    });
    let frames = [
        ("HelloFrame", hello()),
        (
            "EventFrame",
            json!({
                "description": "An event with the `ref` of the frame that asked for it.",
                "allOf": [
                    {"$ref": "#/components/schemas/TurnEvent"},
                    {"type": "object", "required": ["ref"], "properties": {"ref": reference()}}
                ]
            }),
        ),
        ("CancellingFrame", frame("cancelling", &["ref", "turn_id", "status"], cancelling)),
        ("ErrorFrame", frame("error", &["error"], json!({"ref": reference(), "error": problem}))),
        (
            "AuthenticatedFrame",
            frame("authenticated", &["ref", "expires_at"], json!({"ref": reference(), "expires_at": time()})),
        ),
        ("PongFrame", frame("pong", &["time"], json!({"ref": reference(), "time": time()}))),
        (
            "DrainingFrame",
            frame(
                "draining",
                &["reconnect_after_ms"],
                json!({
                    "reconnect_after_ms": whole("How long to wait before a new connection.")
                }),
            ),
        ),
    ];
    frames.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn hello() -> Value {
    let whole = || json!({"type": "integer", "minimum": 0});
    let limit = json!({
        "type": "object",
        "required": ["policy", "quota", "window_s", "remaining", "reset_s"],
        "properties": {
            "policy": {"type": "string"}, "quota": whole(), "window_s": whole(), "remaining": whole(), "reset_s": whole()
        }
    });
    let limits = json!({
        "type": "object",
        "required": ["max_message_bytes", "max_turns", "rate_limits"],
        "properties": {
            "max_message_bytes": whole(), "max_turns": whole(), "rate_limits": {"type": "array", "items": limit}
        }
    });
    let server = json!({
        "type": "object", "required": ["version"], "properties": {"version": {"type": "string"}}
    });
    let required =
        ["connection_id", "protocol", "server", "heartbeat_interval_ms", "idle_timeout_ms", "limits"];
    frame(
        "hello",
        &required,
        json!({
            "connection_id": {"type": "string"}, "protocol": {"type": "string"}, "server": server,
            "heartbeat_interval_ms": whole(), "idle_timeout_ms": whole(), "limits": limits
        }),
    )
}

fn frame(kind: &str, required: &[&str], own: Value) -> Value {
    let mut names = vec!["type"];
    names.extend(required);
    let mut properties = Map::from_iter([("type".to_owned(), json!({"type": "string", "const": kind}))]);
    properties.extend(own.as_object().cloned().unwrap_or_default());
    json!({"type": "object", "required": names, "properties": properties})
}

fn reference() -> Value {
    json!({
        "type": "string", "pattern": "^[!-~]{1,64}$",
        "description": "The client's name for a request: 1 to 64 visible ASCII characters."
    })
}
