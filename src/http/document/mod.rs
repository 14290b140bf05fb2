//! The OpenAPI document: poem-openapi's output, processed once into something that generators read well.

mod errors;
mod headers;
mod requests;
mod security;
mod tickets;
mod tidy;

use serde_json::{Map, Value, json};

use super::api;
use crate::config::PublicUrl;

/// What the whole API promises, printed at the head of both documents.
const ABOUT: &str = "\
Several personas answer one user message in parallel. A message and everything that answers it is a *turn*; the server owns \
it: a client that leaves neither stops nor loses it.

**Finding a turn again.** Every answer to a request that starts a turn carries `Location` and `Turn-Id`. A request with an \
`Idempotency-Key` can be repeated: the same key and body find the same turn, whatever the door, for as long as the turn is \
kept; another body is refused (422). A refusal before there is a turn uses nothing up.

**Streams** are server-sent events (`text/event-stream`): each has an `id`, the event's type as `event`, and one line of \
JSON as `data`; the schema is `TurnEvent`. After a broken connection go on at `streamTurnEvents` with the last id you saw in \
`Last-Event-ID` (an `EventSource` does so by itself): the stream resumes exactly behind it. ";

/// What a client must do with a reset, printed wherever events are described (`state.md` §4).
pub const CLIENT_RULE: &str = "`reply.reset` means: forget all of this reply. A second `routing.decided` means: forget all replies. Ids of an older \
epoch never come again.";

const REST: &str = "\n\n**WebSocket.** The same turns and events over one socket, `/api/v1/chat/ws`, are described in \
`asyncapi.yaml`, beside this document.\n\n\
**Who is calling.** Where the operator asks for it, every request needs `Authorization: Bearer` with an API key or a token; \
without one, or with one that is not valid, it is refused with 401. Conversations and turns belong to whoever began them: for \
everybody else they do not exist.\n\n\
**Errors** are `application/problem+json` (RFC 9457); decide by `code`.\n\n\
**Limits.** Requests are counted per client in windows. `RateLimit-Policy` says what is allowed, `RateLimit` what is left and \
for how many seconds; a refusal (429) counts for nothing and says in `Retry-After` when to come back. Following a turn is \
counted apart from everything else.\n\n\
**Growth.** Within `/api/v1` the server only adds. Take no notice of members and event types you do not know, and expect \
new values wherever `x-extensible-enum` lists the known ones.";

pub use security::schemes;

/// Which OpenAPI a reader wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V30,
    V31,
}

/// The document as OpenAPI 3.1; links begin at `public_url`, or where the document was read.
pub fn openapi_31(public_url: Option<&PublicUrl>) -> Value {
    document(Version::V31, public_url)
}

/// The document as OpenAPI 3.0, for generators that read nothing newer.
pub fn openapi_30(public_url: Option<&PublicUrl>) -> Value {
    document(Version::V30, public_url)
}

/// The document as it is committed and printed: indented, with a line end.
pub fn text(document: &Value) -> String {
    format!("{document:#}\n")
}

fn document(version: Version, public_url: Option<&PublicUrl>) -> Value {
    // poem-openapi wrote this text from its own structures: it parses.
    let mut raw: Map<String, Value> = serde_json::from_str(&api::described()).unwrap_or_default();
    let mut part = |name: &str| raw.remove(name).unwrap_or_default();
    let (info, tags, paths, components) = (part("info"), part("tags"), part("paths"), part("components"));

    let mut document = Map::new();
    match version {
        Version::V30 => drop(document.insert("openapi".into(), "3.0.3".into())),
        Version::V31 => {
            document.insert("openapi".into(), "3.1.0".into());
            let dialect = "https://spec.openapis.org/oas/3.1/dialect/base";
            document.insert("jsonSchemaDialect".into(), dialect.into());
        }
    }
    document.insert("info".into(), described(info, version));
    document.insert("servers".into(), json!([{ "url": public_url.map_or("/", PublicUrl::as_str) }]));
    document.insert("tags".into(), tags);
    document.insert("paths".into(), paths);
    document.insert("components".into(), components);

    let mut document = Value::Object(document);
    tickets::document(&mut document);
    requests::document(&mut document, version);
    headers::document(&mut document);
    errors::document(&mut document);
    security::document(&mut document);
    tidy::tidy(&mut document, version);
    document
}

fn described(mut info: Value, version: Version) -> Value {
    info["description"] = format!("{ABOUT}{CLIENT_RULE}{REST}").into();
    if let (Version::V30, Some(info)) = (version, info.as_object_mut()) {
        info.remove("summary");
        if let Some(license) = info.get_mut("license").and_then(Value::as_object_mut) {
            license.remove("identifier");
        }
    }
    info
}

/// Calls `with` for every operation: its id, and itself.
fn operations(document: &mut Value, mut with: impl FnMut(&str, &mut Value)) {
    let paths = document["paths"].as_object_mut();
    for operation in paths.into_iter().flat_map(|paths| paths.values_mut()).flat_map(members) {
        let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
        with(&id, operation);
    }
}

fn members(value: &mut Value) -> impl Iterator<Item = &mut Value> {
    value.as_object_mut().into_iter().flat_map(|members| members.values_mut())
}
