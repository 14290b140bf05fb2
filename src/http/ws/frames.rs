//! What a client may say (`wire.md`).

use secrecy::SecretString;
use serde_json::{Map, Value};

use crate::chat::{ChatRequest, IdempotencyKey};
use crate::http::body::chat_request;
use crate::http::problem::{Fault, Problem};
use crate::telemetry::metrics::Frame;
use crate::words::{ErrorCode, EventId, Failure, Invalid, TurnId};

/// What ties an answer to a frame: 1 to 64 visible ASCII characters, chosen by the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference(String);

impl Reference {
    /// The reference as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key that makes a repeated `chat` frame find its turn.
    pub fn idempotency_key(&self) -> IdempotencyKey {
        IdempotencyKey::of_reference(&self.0)
    }
}

impl TryFrom<&str> for Reference {
    type Error = Invalid;
    fn try_from(text: &str) -> Result<Self, Invalid> {
        let right = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        right.then(|| Self(text.to_owned())).ok_or(Invalid("must have 1 to 64 visible ASCII characters"))
    }
}

/// A frame that makes sense.
#[derive(Debug)]
pub(super) enum ClientFrame {
    /// Starts a turn.
    Chat(Reference, Box<ChatRequest>),
    /// Follows a turn after an event.
    Resume(Reference, TurnId, Option<EventId>),
    /// Ends a turn.
    Cancel(Reference, TurnId),
    /// Says who is calling.
    Auth(Reference, SecretString),
    /// Wants a `pong`.
    Ping(Option<Reference>),
}

/// A frame that does not.
#[derive(Debug)]
pub(super) struct BadFrame {
    /// What to call it in the answer, if it said so.
    pub reference: Option<Reference>,
    /// What is wrong with it.
    pub problem: Box<Problem>,
}

impl ClientFrame {
    /// What metrics call it.
    pub fn label(&self) -> Frame {
        match self {
            Self::Chat(..) => Frame::Chat,
            Self::Resume(..) => Frame::Resume,
            Self::Cancel(..) => Frame::Cancel,
            Self::Auth(..) => Frame::Auth,
            Self::Ping(..) => Frame::Ping,
        }
    }

    /// Reads a text frame.
    pub fn parse(text: &str, max_personas: usize) -> Result<Self, BadFrame> {
        let members = serde_json::from_str::<Map<String, Value>>(text);
        let members = members.map_err(|_| BadFrame {
            reference: None,
            problem: plain(ErrorCode::InvalidRequest, "The frame is not a JSON object."),
        })?;
        Members { members, faults: Vec::new() }.read(max_personas)
    }
}

/// A frame's members, taken one by one; what is left over was not expected.
struct Members {
    members: Map<String, Value>,
    faults: Vec<Fault>,
}

impl Members {
    fn read(mut self, max_personas: usize) -> Result<ClientFrame, BadFrame> {
        let kind = self.members.remove("type");
        let kind = kind.as_ref().and_then(Value::as_str).unwrap_or_default();
        let reference = self.reference(kind != "ping");
        let frame = match kind {
            "chat" => self.chat(&reference, max_personas),
            "resume" => self.resume(&reference),
            "cancel" => self.cancel(&reference),
            "auth" => self.auth(&reference),
            "ping" => Some(ClientFrame::Ping(reference.clone())),
            _ => {
                let detail = "must be one of chat, resume, cancel, auth and ping";
                return Err(BadFrame { reference, problem: invalid(vec![Fault::body("#/type", detail)]) });
            }
        };
        self.refuse_leftovers();
        match frame {
            Some(frame) if self.faults.is_empty() => Ok(frame),
            Some(_) | None => Err(BadFrame { reference, problem: self.problem() }),
        }
    }

    fn reference(&mut self, is_required: bool) -> Option<Reference> {
        match self.members.remove("ref") {
            None if !is_required => None,
            given => self.parsed("ref", given.as_ref(), |text| Reference::try_from(text)),
        }
    }

    fn chat(&mut self, reference: &Option<Reference>, max_personas: usize) -> Option<ClientFrame> {
        let members = std::mem::take(&mut self.members);
        match chat_request(&members, max_personas) {
            Ok(request) => Some(ClientFrame::Chat(reference.clone()?, Box::new(request))),
            Err(faults) => {
                self.faults.extend(faults);
                None
            }
        }
    }

    fn resume(&mut self, reference: &Option<Reference>) -> Option<ClientFrame> {
        let turn = self.turn();
        let after = match self.members.remove("after") {
            None => None,
            Some(given) => Some(self.parsed("after", Some(&given), str::parse::<EventId>)?),
        };
        Some(ClientFrame::Resume(reference.clone()?, turn?, after))
    }

    fn cancel(&mut self, reference: &Option<Reference>) -> Option<ClientFrame> {
        let turn = self.turn();
        Some(ClientFrame::Cancel(reference.clone()?, turn?))
    }

    fn auth(&mut self, reference: &Option<Reference>) -> Option<ClientFrame> {
        let token = self.members.remove("token");
        let token = self.parsed("token", token.as_ref(), |text| match text {
            "" => Err(Invalid("must be a token")),
            token => Ok(SecretString::from(token)),
        });
        Some(ClientFrame::Auth(reference.clone()?, token?))
    }

    fn turn(&mut self) -> Option<TurnId> {
        let given = self.members.remove("turn_id");
        self.parsed("turn_id", given.as_ref(), str::parse::<TurnId>)
    }

    /// Reads the text of a member, or notes what it must be.
    fn parsed<T>(
        &mut self,
        name: &str,
        given: Option<&Value>,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Option<T> {
        let text = given.and_then(Value::as_str).ok_or(Invalid("must be given, as text"));
        match text.and_then(parse) {
            Ok(value) => Some(value),
            Err(Invalid(detail)) => {
                self.faults.push(Fault::body(format!("#/{name}"), detail));
                None
            }
        }
    }

    /// Their names are not repeated: what was sent is nobody's business but the sender's.
    fn refuse_leftovers(&mut self) {
        if !self.members.is_empty() {
            self.faults.push(Fault::body("#", "must have no other members"));
        }
    }

    fn problem(self) -> Box<Problem> {
        let only_position =
            matches!(self.faults.as_slice(), [only] if only.pointer.as_deref() == Some("#/after"));
        if only_position {
            return plain(ErrorCode::InvalidEventId, "The position is not the id of an event.");
        }
        invalid(self.faults)
    }
}

fn invalid(errors: Vec<Fault>) -> Box<Problem> {
    let detail = match errors.len() {
        1 => "1 member of the frame is not valid.".to_owned(),
        count => format!("{count} members of the frame are not valid."),
    };
    Box::new(Problem { errors, ..Failure::new(ErrorCode::InvalidRequest, detail).into() })
}

fn plain(code: ErrorCode, detail: &str) -> Box<Problem> {
    Box::new(Failure::new(code, detail).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzz_client_frames() {
        crate::fuzz::run("client_frames", |bytes| {
            let Ok(text) = std::str::from_utf8(bytes) else { return };
            match ClientFrame::parse(text, 5) {
                Ok(ClientFrame::Chat(_, request)) => {
                    let Value::Object(members) = serde_json::to_value(&request).unwrap() else { panic!() };
                    assert_eq!(chat_request(&members, 5).unwrap(), *request);
                }
                Ok(_) => {}
                Err(bad) => {
                    let told = bad.problem.to_json(&"id".parse().unwrap(), false).to_string();
                    assert!(!told.contains("hunter2"), "{told}");
                }
            }
        });
    }
}
