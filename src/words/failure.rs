//! What may be said to the outside when something goes wrong.

use std::time::Duration;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $status:literal, $title:literal;)*) => {
        /// Every error a client can be told. The list is closed here and open to clients: they must survive an addition.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)*
        }

        impl ErrorCode {
            /// All of them, in the order of the contract.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The code as it stands in `code`, in the header `Problem-Code` and in `/problems/{code}`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The HTTP status that goes with it.
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// A short sentence for people, the same for every occurrence (RFC 9457 §3.1.3).
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

codes! {
    /// The request is not what the document asks for.
    InvalidRequest = "invalid_request", 400, "The request is not valid";
    /// A persona was asked for by an id nobody has.
    UnknownPersona = "unknown_persona", 400, "A persona is not known";
    /// A resume position that is not an event id.
    InvalidEventId = "invalid_event_id", 400, "The event id is not valid";
    /// No offered WebSocket subprotocol is known here.
    UnsupportedSubprotocol = "unsupported_subprotocol", 400, "The subprotocol is not supported";
    /// Who is calling could not be established.
    Unauthenticated = "unauthenticated", 401, "Authentication is needed";
    /// The caller may not do this.
    Forbidden = "forbidden", 403, "This is not allowed";
    /// A browser page of an origin that is not on the list.
    OriginNotAllowed = "origin_not_allowed", 403, "The origin is not allowed";
    /// No such path.
    NotFound = "not_found", 404, "There is nothing here";
    /// No such conversation.
    ConversationNotFound = "conversation_not_found", 404, "The conversation is not known";
    /// No such turn, or one that was forgotten.
    TurnNotFound = "turn_not_found", 404, "The turn is not known";
    /// No such persona.
    PersonaNotFound = "persona_not_found", 404, "The persona is not known";
    /// The path exists, the method does not.
    MethodNotAllowed = "method_not_allowed", 405, "The method is not allowed";
    /// Nothing the caller accepts can be produced.
    NotAcceptable = "not_acceptable", 406, "The answer cannot be given in this form";
    /// The request did not arrive in time.
    RequestTimeout = "request_timeout", 408, "The request took too long to arrive";
    /// The conversation is answering another message.
    TurnInProgress = "turn_in_progress", 409, "A turn is already running";
    /// A resume position this turn never had.
    EventUnknown = "event_unknown", 410, "This event is not known";
    /// The body is over the limit.
    PayloadTooLarge = "payload_too_large", 413, "The request is too large";
    /// The body is not of a type this operation reads.
    UnsupportedMediaType = "unsupported_media_type", 415, "The media type is not supported";
    /// The key was used with another body.
    IdempotencyKeyReused = "idempotency_key_reused", 422, "The idempotency key was used for another request";
    /// The path speaks WebSocket only.
    UpgradeRequired = "upgrade_required", 426, "An upgrade to WebSocket is needed";
    /// Too many requests within a policy's window.
    RateLimited = "rate_limited", 429, "Too many requests";
    /// Too many sockets of one caller.
    ConnectionLimitExceeded = "connection_limit_exceeded", 429, "Too many connections";
    /// Our fault; the log knows more.
    Internal = "internal", 500, "Something went wrong here";
    /// The model answered, but not usefully.
    ModelFailed = "model_failed", 502, "The model failed";
    /// The model cannot be asked now.
    ModelUnavailable = "model_unavailable", 503, "The model is not available";
    /// What is needed cannot be read or written now.
    StateUnavailable = "state_unavailable", 503, "The state is not available";
    /// This replica is stopping.
    Draining = "draining", 503, "The server is stopping";
    /// This replica has all the work it can take.
    Overloaded = "overloaded", 503, "The server is busy";
    /// The model was too slow.
    ModelTimeout = "model_timeout", 504, "The model took too long";
}

/// One error as a client sees it, in any transport: a code, a sentence about this occurrence, and perhaps when to try again.
/// The sentence holds no internal text, no host, no key, no prompt and nothing the caller sent.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Failure {
    /// What kind of error.
    pub code: ErrorCode,
    /// A sentence about this occurrence.
    pub detail: String,
    /// When trying again makes sense.
    #[serde(default, rename = "retry_after_ms", deserialize_with = "millis")]
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// Says `detail` about `code`.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), retry_after: None }
    }

    /// Adds when to try again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

fn millis<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
}

/// The members every problem has, in the order of the contract; what only HTTP knows is added there.
impl Serialize for Failure {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &format_args!("/problems/{}", self.code.as_str()))?;
        map.serialize_entry("title", self.code.title())?;
        map.serialize_entry("status", &self.code.status())?;
        map.serialize_entry("code", self.code.as_str())?;
        map.serialize_entry("detail", &self.detail)?;
        if let Some(wait) = self.retry_after {
            map.serialize_entry("retry_after_ms", &u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))?;
        }
        map.end()
    }
}
