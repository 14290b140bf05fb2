//! The AsyncAPI document: the socket's frames, with the schemas of the OpenAPI document.

use serde_json::{Map, Value, json};

use super::document::{CLIENT_RULE, openapi_31, schemes};
use crate::config::PublicUrl;

/// Schemas taken over as they are; the frames that start a turn and tell its events are made of others.
const TAKEN: [&str; 5] = ["ConversationRef", "Routing", "Usage", "Problem", "Fault"];

const ABOUT: &str = "\
JSON text frames over one WebSocket, subprotocol `polylogue.v1` (no offer is taken as v1). `ref` is the client's name for a \
request and comes back with everything that answers it; on `chat` it also makes a repetition find the same turn, as \
`Idempotency-Key` does over HTTP. Several turns, of different conversations, may run on one socket. A malformed or unknown \
frame gets an `error`, not a close. Where the operator asks for a credential, the upgrade shows it: as `Authorization: \
Bearer`, as the subprotocol `polylogue.bearer.<key or token>` beside `polylogue.v1`, or as a ticket of `createTicket` in the \
query. The socket closes with 4501 when it expires, unless an `auth` frame brought a newer one of the same caller. After a close, open a new socket and send `resume` with the last event id that was \
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

/// A frame: its `type`, its schema, what it does.
struct Message {
    kind: String,
    schema: String,
    summary: String,
}

/// What a client sends.
const FROM_CLIENT: [(&str, &str, &str); 5] = [
    ("chat", "ChatFrame", "Starts a turn, and follows it."),
    ("resume", "ResumeFrame", "Follows a turn again, exactly after an event."),
    ("cancel", "CancelFrame", "Asks for a turn's end; answered by `cancelling`."),
    ("auth", "AuthFrame", "Brings a newer token."),
    ("ping", "PingFrame", "Asks for a `pong`; does not count as use."),
];

/// What the server sends beside the events.
const FROM_SERVER: [(&str, &str, &str); 6] = [
    ("hello", "HelloFrame", "The first frame: what this socket may do."),
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
    let openapi = openapi_31(None);
    let known = &openapi["components"]["schemas"];
    let from_client: Vec<_> = FROM_CLIENT.into_iter().map(Message::from).collect();
    let from_server: Vec<_> = FROM_SERVER.into_iter().map(Message::from).chain(events(known)).collect();

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
    document["channels"] = json!({"chat": channel(&from_client, &from_server)});
    // An application that is described receives what its clients send.
    document["operations"] = json!({
        "receive": operation("receive", "Frames of the client", &from_client),
        "send": operation("send", "Frames of the server", &from_server)
    });
    let messages: Map<_, _> = from_client.iter().chain(&from_server).map(Message::described).collect();
    document["components"] = json!({
        "messages": messages,
        "schemas": schemas(known),
        "securitySchemes": schemes("httpApiKey")
    });
    document
}

impl From<(&str, &str, &str)> for Message {
    fn from((kind, schema, summary): (&str, &str, &str)) -> Self {
        Self { kind: kind.to_owned(), schema: schema.to_owned(), summary: summary.to_owned() }
    }
}

impl Message {
    fn described(&self) -> (String, Value) {
        let Self { kind, schema, summary } = self;
        let payload = json!({"$ref": format!("#/components/schemas/{schema}")});
        (kind.clone(), json!({"name": kind, "summary": summary, "payload": payload}))
    }
}

/// The events of a turn: a message each, named as in `type`.
fn events(known: &Value) -> impl Iterator<Item = Message> {
    members(known).map(|(kind, name)| {
        let summary = known[name]["description"].as_str().unwrap_or_default();
        Message::from((kind, frame_of(name).as_str(), summary))
    })
}

/// The types of events and the names of their schemas.
fn members(known: &Value) -> impl Iterator<Item = (&str, &str)> {
    let mapping = known["TurnEvent"]["discriminator"]["mapping"].as_object();
    mapping.into_iter().flatten().filter_map(|(kind, path)| {
        let name = path.as_str()?.rsplit('/').next()?;
        Some((kind.as_str(), name))
    })
}

/// What the frame that tells an event is called: `TurnStartedFrame` tells a `TurnStartedEvent`.
fn frame_of(event: &str) -> String {
    format!("{}Frame", event.trim_end_matches("Event"))
}

fn server(public_url: Option<&PublicUrl>) -> Option<Value> {
    let (scheme, rest) = public_url?.as_str().split_once("://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let protocol = if scheme == "https" { "wss" } else { "ws" };
    Some(json!({"public": {"host": host, "pathname": format!("/{path}"), "protocol": protocol}}))
}

fn channel(from_client: &[Message], from_server: &[Message]) -> Value {
    let reference = |message: &Message| {
        let kind = &message.kind;
        (kind.clone(), json!({"$ref": format!("#/components/messages/{kind}")}))
    };
    let messages: Map<_, _> = from_client.iter().chain(from_server).map(reference).collect();
    let ticket = json!({"type": "string", "description": "A ticket of `POST /api/v1/chat/ws/tickets`."});
    let protocol = json!({"type": "string", "const": "polylogue.v1"});
    json!({
        "address": "/api/v1/chat/ws",
        "messages": messages,
        "bindings": {"ws": {
            "method": "GET",
            "query": {"type": "object", "properties": {"ticket": ticket}},
            "headers": {"type": "object", "properties": {"Sec-WebSocket-Protocol": protocol}},
            "bindingVersion": "0.1.0"
        }}
    })
}

fn operation(action: &str, summary: &str, messages: &[Message]) -> Value {
    let scheme = |name| json!({"$ref": format!("#/components/securitySchemes/{name}")});
    let reference = |message: &Message| json!({"$ref": format!("#/channels/chat/messages/{}", message.kind)});
    json!({
        "action": action,
        "channel": {"$ref": "#/channels/chat"},
        "summary": summary,
        "security": (["bearer", "ticket"].map(scheme)),
        "messages": messages.iter().map(reference).collect::<Vec<_>>()
    })
}

fn schemas(known: &Value) -> Value {
    let mut schemas = client_frames(&known["ChatRequest"]);
    schemas.extend(server_frames());
    for (_, name) in members(known) {
        schemas.insert(frame_of(name), event_frame(&known[name]));
    }
    for name in TAKEN {
        schemas.insert(name.to_owned(), known[name].clone());
    }
    let mut schemas = Value::Object(schemas);
    as_json_schema(&mut schemas);
    schemas
}

/// AsyncAPI's schemas are JSON Schema draft 7: examples are lists, and what stands beside a reference is not read.
fn as_json_schema(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(as_json_schema),
        Value::Object(members) => {
            if let Some(example) = members.remove("example") {
                members.insert("examples".into(), vec![example].into());
            }
            if let (Some(reference), true) = (members.get("$ref").cloned(), members.len() > 1) {
                members.remove("$ref");
                members.insert("allOf".into(), json!([{ "$ref": reference }]));
            }
            members.values_mut().for_each(as_json_schema);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
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

/// An event with the `ref` of the frame that asked for it.
fn event_frame(event: &Value) -> Value {
    let own = |name: &str| event[name].as_object().cloned().unwrap_or_default();
    let mut properties = own("properties");
    properties.shift_insert(1, "ref".to_owned(), reference());
    let mut required = event["required"].as_array().cloned().unwrap_or_default();
    required.insert(1.min(required.len()), "ref".into());
    json!({
        "type": "object",
        "description": event["description"],
        "required": required,
        "properties": properties
    })
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
