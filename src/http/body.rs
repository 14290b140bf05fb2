//! Request bodies, checked by us: every fault at once, each with its place, and never an echo of what was sent.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::str::FromStr;

use poem::{Request, RequestBody};
use poem_openapi::payload::{ParsePayload, Payload};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde_json::{Map, Value};

use super::problem::{Fault, Problem};
use crate::chat::{AddMessage, ChatRequest, OnBusy};
use crate::words::{ErrorCode, Failure, Invalid, PersonaId, Role};

/// Code points of a message.
const MESSAGE_CHARACTERS: usize = 32_768;
/// Pairs of metadata.
const METADATA_PAIRS: usize = 16;
/// Personas that can be listed at all; how many may answer is a setting, and decided later.
const LISTED_PERSONAS: usize = 64;

/// A JSON body: documented as `D`, read as `T`.
pub struct Checked<D, T> {
    /// What was read.
    pub value: T,
    documented: PhantomData<fn() -> D>,
}

/// What can be read from a JSON object, with all its faults.
pub trait FromMembers: Sized {
    /// Reads it, or says everything that is wrong.
    fn from_members(members: &Map<String, Value>) -> Result<Self, Vec<Fault>>;
}

impl FromMembers for ChatRequest {
    fn from_members(members: &Map<String, Value>) -> Result<Self, Vec<Fault>> {
        chat_request(members)
    }
}

impl FromMembers for AddMessage {
    fn from_members(members: &Map<String, Value>) -> Result<Self, Vec<Fault>> {
        let mut read = Reading::of(members);
        let role = read.required("role", |value| match value.as_str() {
            Some("user") => Ok(Role::User),
            Some("assistant") => Ok(Role::Assistant),
            _ => Err("must be user or assistant".to_owned()),
        });
        let content = read.required("content", said);
        let persona = read.optional("persona", parsed::<PersonaId>);
        read.finish()?;
        let (role, content) = (role.unwrap_or(Role::User), content.unwrap_or_default());
        Ok(Self { role, persona, content })
    }
}

/// Reads the members of a `ChatRequest`, for an HTTP body and for a socket's `chat` frame alike.
pub fn chat_request(members: &Map<String, Value>) -> Result<ChatRequest, Vec<Fault>> {
    let mut read = Reading::of(members);
    let message = read.required("message", said);
    let conversation_id = read.optional("conversation_id", parsed);
    let personas = read.list("personas");
    let on_busy = read.optional("on_busy", |value| match value.as_str() {
        Some("reject") => Ok(OnBusy::Reject),
        Some("interrupt") => Ok(OnBusy::Interrupt),
        _ => Err("must be reject or interrupt".to_owned()),
    });
    let metadata = read.pairs("metadata");
    read.finish()?;
    Ok(ChatRequest {
        message: message.unwrap_or_default(),
        conversation_id,
        personas,
        on_busy: on_busy.unwrap_or_default(),
        metadata,
    })
}

/// A JSON object being read, member by member.
struct Reading<'a> {
    members: &'a Map<String, Value>,
    known: Vec<&'static str>,
    faults: Vec<Fault>,
}

impl<'a> Reading<'a> {
    fn of(members: &'a Map<String, Value>) -> Self {
        Self { members, known: Vec::new(), faults: Vec::new() }
    }

    fn optional<T>(&mut self, name: &'static str, read: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        self.known.push(name);
        let value = self.members.get(name)?;
        read(value).map_err(|detail| self.faults.push(Fault::body(format!("#/{name}"), detail))).ok()
    }

    fn required<T>(&mut self, name: &'static str, read: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        if !self.members.contains_key(name) {
            self.faults.push(Fault::body(format!("#/{name}"), "is required"));
        }
        self.optional(name, read)
    }

    /// A list of persona ids, each named once.
    fn list(&mut self, name: &'static str) -> Vec<PersonaId> {
        self.known.push(name);
        let Some(value) = self.members.get(name) else { return Vec::new() };
        let Some(items) = value.as_array().filter(|items| items.len() <= LISTED_PERSONAS) else {
            let detail = format!("must be a list of at most {LISTED_PERSONAS} persona ids");
            self.faults.push(Fault::body(format!("#/{name}"), detail));
            return Vec::new();
        };
        let mut ids: Vec<PersonaId> = Vec::with_capacity(items.len());
        for (place, item) in items.iter().enumerate() {
            match parsed::<PersonaId>(item) {
                Ok(id) if ids.contains(&id) => {
                    self.faults.push(Fault::body(format!("#/{name}/{place}"), "is listed twice"));
                }
                Ok(id) => ids.push(id),
                Err(detail) => self.faults.push(Fault::body(format!("#/{name}/{place}"), detail)),
            }
        }
        ids
    }

    fn pairs(&mut self, name: &'static str) -> BTreeMap<String, String> {
        self.known.push(name);
        let Some(value) = self.members.get(name) else { return BTreeMap::new() };
        let pairs = value.as_object().filter(|pairs| pairs.len() <= METADATA_PAIRS);
        let texts = pairs.and_then(|pairs| {
            pairs.iter().map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
        });
        texts.unwrap_or_else(|| {
            let detail = format!("must be an object of at most {METADATA_PAIRS} strings");
            self.faults.push(Fault::body(format!("#/{name}"), detail));
            BTreeMap::new()
        })
    }

    /// Refuses members that nobody asked for. Their names are the client's words, so only their number is told.
    fn finish(mut self) -> Result<(), Vec<Fault>> {
        let unknown = self.members.keys().filter(|name| !self.known.contains(&name.as_str())).count();
        if unknown > 0 {
            let detail = format!("has {unknown} unknown members; known are {}", self.known.join(", "));
            self.faults.push(Fault::body("#", detail));
        }
        if self.faults.is_empty() { Ok(()) } else { Err(self.faults) }
    }
}

fn parsed<T: FromStr<Err = Invalid>>(value: &Value) -> Result<T, String> {
    let text = value.as_str().ok_or("must be a string")?;
    text.parse().map_err(|Invalid(rule)| rule.to_owned())
}

fn said(value: &Value) -> Result<String, String> {
    let text = value.as_str().ok_or("must be a string")?;
    if !(1..=MESSAGE_CHARACTERS).contains(&text.chars().count()) {
        return Err(format!("must have 1 to {MESSAGE_CHARACTERS} characters"));
    }
    if text.chars().all(is_blank) {
        return Err("must not be only white space".to_owned());
    }
    Ok(text.to_owned())
}

/// White space as any of the regular-expression languages sees it that read the document's `\S`.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}' | '\u{feff}')
}

/// What is wrong with a body, as one problem.
pub fn invalid(errors: Vec<Fault>) -> Problem {
    let detail = match errors.len() {
        1 => "1 member of the body is not valid.".to_owned(),
        n => format!("{n} members of the body are not valid."),
    };
    Problem { errors, ..Failure::new(ErrorCode::InvalidRequest, detail).into() }
}

impl<D: Type, T: Send> Payload for Checked<D, T> {
    const CONTENT_TYPE: &'static str = "application/json";

    fn check_content_type(content_type: &str) -> bool {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case(Self::CONTENT_TYPE)
    }

    fn schema_ref() -> MetaSchemaRef {
        D::schema_ref()
    }

    fn register(registry: &mut Registry) {
        D::register(registry);
    }
}

impl<D: Type, T: FromMembers + Send> ParsePayload for Checked<D, T> {
    const IS_REQUIRED: bool = true;

    async fn from_request(_: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        let bytes = body.take()?.into_vec().await?;
        let broken = |detail: &str| Problem {
            errors: vec![Fault::body("#", detail)],
            ..Failure::new(ErrorCode::InvalidRequest, "The body is not valid.").into()
        };
        let value: Value = serde_json::from_slice(&bytes).map_err(|_| broken("must be JSON in UTF-8"))?;
        let members = value.as_object().ok_or_else(|| broken("must be an object"))?;
        let value = T::from_members(members).map_err(invalid)?;
        Ok(Self { value, documented: PhantomData })
    }
}

impl<'a, D: Type, T: FromMembers + Send> ApiExtractor<'a> for Checked<D, T> {
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
            let detail = "The body must be sent as application/json.";
            return Err(Problem::from(Failure::new(ErrorCode::UnsupportedMediaType, detail)).into());
        }
        <Self as ParsePayload>::from_request(request, body).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(body: Value) -> Vec<String> {
        let faults = chat_request(body.as_object().unwrap()).unwrap_err();
        faults.into_iter().map(|fault| format!("{} {}", fault.pointer.unwrap(), fault.detail)).collect()
    }

    #[test]
    fn every_fault_is_told_at_once_with_its_place() {
        let body = json!({"message": " \t", "conversation_id": "a b", "personas": ["guide", "NO", "guide"], "on_busy": 1,
            "metadata": {"a": 1}, "temperature": 2});
        assert_eq!(faults(body), [
            "#/message must not be only white space",
            "#/conversation_id must match ^[A-Za-z0-9_-]{1,64}$",
            "#/personas/1 must match ^[a-z0-9_-]{1,64}$",
            "#/personas/2 is listed twice",
            "#/on_busy must be reject or interrupt",
            "#/metadata must be an object of at most 16 strings",
            "# has 1 unknown members; known are message, conversation_id, personas, on_busy, metadata",
        ]);
    }

    #[test]
    fn a_missing_or_empty_or_too_long_message_is_a_fault() {
        assert_eq!(faults(json!({})), ["#/message is required"]);
        assert_eq!(faults(json!({"message": ""})), ["#/message must have 1 to 32768 characters"]);
        assert_eq!(faults(json!({"message": "é".repeat(32_769)})), ["#/message must have 1 to 32768 characters"]);
        assert_eq!(faults(json!({"message": null})), ["#/message must be a string"]);
    }

    #[test]
    fn a_message_of_the_longest_kind_is_read() {
        let body = json!({"message": "é".repeat(32_768), "metadata": {"ui": "web"}});
        let request = chat_request(body.as_object().unwrap()).unwrap();
        assert_eq!((request.on_busy, request.personas.len(), request.metadata.len()), (OnBusy::Reject, 0, 1));
    }
}
