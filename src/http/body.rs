//! Request bodies, checked as a whole: every fault is told at once, with its place, and nothing that was sent is echoed.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use poem::error::ReadBodyError;
use poem::{Request, RequestBody};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde_json::{Map, Value};

use super::problem::{Fault, Problem};
use super::{Services, wire};
use crate::chat::{AddMessage, ChatRequest, OnBusy};
use crate::words::{ErrorCode, Failure, Invalid, PersonaId, Role};

/// The longest message, in code points (`design.md` §2).
const MAX_MESSAGE: usize = 32_768;
/// Bounds of `metadata`: pairs, code points of a key, of a value (`design.md` §2).
const MAX_PAIRS: usize = 16;
const MAX_KEY: usize = 64;
const MAX_VALUE: usize = 512;
/// Faults one answer tells; a client that makes more than this learns nothing from the rest.
const MAX_FAULTS: usize = 32;

/// Bounds of a body that are settings.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How many personas a request may name.
    pub max_personas: usize,
}

/// What can be read from a JSON object, with all its faults at once.
pub trait FromBody: Sized + Send {
    /// How the document describes it.
    type Document: Type;

    /// Reads it; the faults are never empty.
    fn from_members(members: &Map<String, Value>, bounds: Bounds) -> Result<Self, Vec<Fault>>;
}

impl FromBody for ChatRequest {
    type Document = wire::ChatRequest;

    fn from_members(members: &Map<String, Value>, bounds: Bounds) -> Result<Self, Vec<Fault>> {
        chat_request(members, bounds.max_personas)
    }
}

impl FromBody for AddMessage {
    type Document = wire::AddMessage;

    fn from_members(members: &Map<String, Value>, _: Bounds) -> Result<Self, Vec<Fault>> {
        let mut reading = Reading::new(members, &["role", "persona", "content"]);
        let role = reading.need("role", role);
        let persona = reading.take("persona", parsed::<PersonaId>);
        let content = reading.need("content", said);
        if role == Some(Role::User) && persona.is_some() {
            reading.fault("persona", "must be absent for the role user".into());
        }
        reading.done(|| Some(Self { role: role?, persona, content: content? }))
    }
}

/// Reads the members of a chat request; the socket takes `type` and `ref` out of a `chat` frame first.
pub fn chat_request(members: &Map<String, Value>, max_personas: usize) -> Result<ChatRequest, Vec<Fault>> {
    let known = &["message", "conversation_id", "personas", "on_busy", "metadata"];
    let mut reading = Reading::new(members, known);
    let message = reading.need("message", said);
    let conversation_id = reading.take("conversation_id", parsed);
    let personas = reading.personas(max_personas);
    let on_busy = reading.take("on_busy", on_busy).unwrap_or_default();
    let metadata = reading.metadata();
    reading.done(|| Some(ChatRequest { message: message?, conversation_id, personas, on_busy, metadata }))
}

/// An object on its way to a value.
struct Reading<'a> {
    members: &'a Map<String, Value>,
    faults: Vec<Fault>,
}

impl<'a> Reading<'a> {
    fn new(members: &'a Map<String, Value>, known: &[&str]) -> Self {
        // Unknown ones are not named: that would be an echo of what was sent.
        let only_known = members.keys().all(|name| known.contains(&name.as_str()));
        let unknown = || Fault::body("#", format!("must have no members but {}", known.join(", ")));
        Self { members, faults: (!only_known).then(unknown).into_iter().collect() }
    }

    fn fault(&mut self, name: &str, detail: String) {
        self.faults.push(Fault::body(format!("#/{name}"), detail));
    }

    fn take<T>(&mut self, name: &str, read: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        read(self.members.get(name)?).map_err(|detail| self.fault(name, detail)).ok()
    }

    fn need<T>(&mut self, name: &str, read: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        if !self.members.contains_key(name) {
            self.fault(name, "is required".into());
        }
        self.take(name, read)
    }

    fn personas(&mut self, most: usize) -> Vec<PersonaId> {
        let wrong = || format!("must be an array of at most {most} persona ids");
        let array = |value: &Value| match value.as_array() {
            Some(items) if items.len() <= most => Ok(items.clone()),
            _ => Err(wrong()),
        };
        let items = self.take("personas", array).unwrap_or_default();
        let mut seen = BTreeSet::new();
        for (place, item) in items.iter().enumerate() {
            let at = format!("#/personas/{place}");
            match parsed::<PersonaId>(item) {
                Err(detail) => self.faults.push(Fault::body(at, detail)),
                Ok(id) if !seen.insert(id.clone()) => {
                    self.faults.push(Fault::body(at, "must be named once only"));
                }
                Ok(_) => {}
            }
        }
        items.iter().filter_map(|item| parsed(item).ok()).collect()
    }

    fn metadata(&mut self) -> BTreeMap<String, String> {
        let object = |value: &Value| match value.as_object() {
            Some(pairs) if pairs.len() <= MAX_PAIRS => Ok(pairs.clone()),
            _ => Err(format!("must be an object of at most {MAX_PAIRS} pairs")),
        };
        let pairs = self.take("metadata", object).unwrap_or_default();
        for (key, value) in &pairs {
            if !(1..=MAX_KEY).contains(&key.chars().count()) {
                self.fault("metadata", format!("must have keys of 1 to {MAX_KEY} characters"));
            } else if value.as_str().is_none_or(|text| text.chars().count() > MAX_VALUE) {
                self.fault("metadata", format!("must have strings of at most {MAX_VALUE} characters"));
            }
        }
        pairs.into_iter().filter_map(|(key, value)| Some((key, value.as_str()?.to_owned()))).collect()
    }

    fn done<T>(mut self, value: impl FnOnce() -> Option<T>) -> Result<T, Vec<Fault>> {
        self.faults.dedup();
        self.faults.truncate(MAX_FAULTS);
        match value() {
            Some(value) if self.faults.is_empty() => Ok(value),
            _ => Err(self.faults),
        }
    }
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| "must be a string".into())
}

fn parsed<T: FromStr<Err = Invalid>>(value: &Value) -> Result<T, String> {
    text(value)?.parse().map_err(|invalid: Invalid| invalid.to_string())
}

fn said(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    match text.chars().count() {
        1..=MAX_MESSAGE if text.chars().all(char::is_whitespace) => {
            Err("must have more than white space".into())
        }
        1..=MAX_MESSAGE => Ok(text.to_owned()),
        _ => Err(format!("must have 1 to {MAX_MESSAGE} characters")),
    }
}

fn on_busy(value: &Value) -> Result<OnBusy, String> {
    match value.as_str() {
        Some("reject") => Ok(OnBusy::Reject),
        Some("interrupt") => Ok(OnBusy::Interrupt),
        _ => Err("must be reject or interrupt".into()),
    }
}

fn role(value: &Value) -> Result<Role, String> {
    match value.as_str() {
        Some("user") => Ok(Role::User),
        Some("assistant") => Ok(Role::Assistant),
        _ => Err("must be user or assistant".into()),
    }
}

/// The problem that tells these faults.
pub fn invalid(faults: Vec<Fault>) -> Problem {
    let what = if faults.iter().all(|fault| fault.pointer.is_some()) { "body" } else { "request" };
    let detail = match faults.len() {
        1 if faults[0].pointer.as_deref() == Some("#") => "The body is not valid.".to_owned(),
        1 => format!("A member of the {what} is not valid."),
        many => format!("{many} members of the {what} are not valid."),
    };
    Problem { errors: faults, ..Failure::new(ErrorCode::InvalidRequest, detail).into() }
}

/// A JSON body that was read as a `T`, or what is wrong with it.
#[derive(Debug)]
pub struct Checked<T>(pub Result<T, Vec<Fault>>);

impl<T: FromBody> Payload for Checked<T> {
    const CONTENT_TYPE: &'static str = "application/json";

    fn check_content_type(content_type: &str) -> bool {
        let essence = content_type.split(';').next().unwrap_or_default();
        essence.trim().eq_ignore_ascii_case(Self::CONTENT_TYPE)
    }

    fn schema_ref() -> MetaSchemaRef {
        T::Document::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::Document::register(registry);
    }
}

impl<'a, T: FromBody> ApiExtractor<'a> for Checked<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        <Self as Payload>::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: Self::CONTENT_TYPE, schema: Self::schema_ref() }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        if !request.content_type().is_some_and(Self::check_content_type) {
            let failure = Failure::new(ErrorCode::UnsupportedMediaType, "The body must be application/json.");
            return Err(Problem::from(failure).into());
        }
        let config = &request.data::<Services>().ok_or_else(no_services)?.config;
        let bytes = body.take()?.into_bytes_limit(config.server.max_body.0).await.map_err(unread)?;
        let bounds = Bounds { max_personas: config.turns.max_personas.get() };
        let members = members(&bytes)?;
        Ok(Self(T::from_members(&members, bounds)))
    }
}

/// Reads a JSON object; everything else is one fault at the whole body.
fn members(bytes: &[u8]) -> Result<Map<String, Value>, Problem> {
    let whole = |detail: &str| invalid(vec![Fault::body("#", detail)]);
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(whole("must be an object")),
        Err(_) => Err(whole("must be JSON")),
    }
}

fn unread(error: ReadBodyError) -> poem::Error {
    match error {
        ReadBodyError::PayloadTooLarge => {
            let failure = Failure::new(ErrorCode::PayloadTooLarge, "The body is over the limit.");
            Problem::from(failure).into()
        }
        other @ (ReadBodyError::BodyHasBeenTaken | ReadBodyError::Utf8(_) | ReadBodyError::Io(_)) => {
            other.into()
        }
    }
}

/// A request that reached a handler without what the composition root puts into every request.
pub(super) fn no_services() -> Problem {
    Failure::new(ErrorCode::Internal, "The log of the server knows more.").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(faults: Vec<Fault>) -> String {
        assert!((1..=MAX_FAULTS).contains(&faults.len()), "{}", faults.len());
        invalid(faults).to_json(&"id".parse().unwrap(), true).to_string()
    }

    #[test]
    fn fuzz_bodies() {
        let bounds = Bounds { max_personas: 5 };
        crate::fuzz::run("bodies", |bytes| {
            let members = match members(bytes) {
                Ok(members) => members,
                Err(problem) => {
                    assert!(!problem.to_json(&"id".parse().unwrap(), true).to_string().contains("hunter2"));
                    return;
                }
            };
            match ChatRequest::from_members(&members, bounds) {
                Ok(request) => {
                    let Value::Object(printed) = serde_json::to_value(&request).unwrap() else { panic!() };
                    assert_eq!(ChatRequest::from_members(&printed, bounds).unwrap(), request);
                }
                Err(faults) => assert!(!told(faults).contains("hunter2")),
            }
            if let Err(faults) = AddMessage::from_members(&members, bounds) {
                assert!(!told(faults).contains("hunter2"));
            }
        });
    }
}
