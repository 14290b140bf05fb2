//! Single values as the document describes them.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{
    ParseError, ParseFromJSON, ParseFromParameter, ParseFromXML, ParseFromYAML, ParseResult, ToJSON, ToXML,
    ToYAML, Type,
};
use serde_json::Value;

use crate::chat::ListingPlace;
use crate::words::{ConversationId, ErrorCode, EventBody, EventId, MessageId, PersonaId, Timestamp, TurnId};

/// The `format` by which the document step finds lists of values that may grow.
pub const OPEN: &str = "x-open";

/// Says how a type that is written as one JSON value looks in the document.
macro_rules! shape {
    ($name:ty, $schema:expr) => {
        impl Type for $name {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Inline(Box::new($schema))
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }
    };
}

/// Says how a type that is written as text looks in the document, and reads and writes it there.
macro_rules! text {
    ($name:ty, $schema:expr) => {
        shape!($name, $schema);
        text!(@read_and_write $name);
    };
    (@read_and_write $name:ty) => {
        impl ParseFromJSON for $name {
            fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
                match value {
                    Some(Value::String(text)) => text.parse().map_err(ParseError::<Self>::custom),
                    other => Err(ParseError::expected_type(other.unwrap_or_default())),
                }
            }
        }
        impl ToJSON for $name {
            fn to_json(&self) -> Option<Value> {
                Some(Value::String(self.to_string()))
            }
        }
        // poem-openapi's derives want all three notations; only JSON is ever used.
        impl ParseFromXML for $name {
            fn parse_from_xml(value: Option<Value>) -> ParseResult<Self> {
                Self::parse_from_json(value)
            }
        }
        impl ToXML for $name {
            fn to_xml(&self) -> Option<Value> {
                self.to_json()
            }
        }
        impl ParseFromYAML for $name {
            fn parse_from_yaml(value: Option<Value>) -> ParseResult<Self> {
                Self::parse_from_json(value)
            }
        }
        impl ToYAML for $name {
            fn to_yaml(&self) -> Option<Value> {
                self.to_json()
            }
        }
    };
}

fn pattern(pattern: &str, example: &str) -> MetaSchema {
    let pattern = Some(pattern.to_owned());
    MetaSchema { pattern, example: Some(example.into()), ..MetaSchema::new("string") }
}

text!(ConversationId, pattern("^[A-Za-z0-9_-]{1,64}$", "team-42"));
text!(PersonaId, pattern("^[a-z0-9_-]{1,64}$", "historian"));
text!(MessageId, pattern("^[0-7][0-9A-HJKMNP-TV-Z]{25}$", "01KASQ6W8V3Z0Q4T5Y7M2N9PBD"));
text!(TurnId, pattern("^[0-7][0-9A-HJKMNP-TV-Z]{25}-[0-9a-f]{4}$", "01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2"));
text!(EventId, MetaSchema { example: Some("1-5".into()), ..MetaSchema::new("string") });
text!(
    ListingPlace,
    MetaSchema { example: Some("1795460442000.team-42".into()), ..MetaSchema::new("string") }
);
text!(Timestamp, MetaSchema::new_with_format("string", "date-time"));

/// A list of texts that the server may add to: clients must take a value they do not know.
macro_rules! open {
    ($(#[$doc:meta])* $name:ident, $known:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name(String);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl FromStr for $name {
            type Err = Infallible;
            fn from_str(text: &str) -> Result<Self, Infallible> {
                Ok(Self(text.to_owned()))
            }
        }
        text!($name, MetaSchema {
            enum_items: $known.into_iter().map(Value::from).collect(),
            ..MetaSchema::new_with_format("string", OPEN)
        });
    };
}

open!(
    /// The code of an error.
    Code, ErrorCode::ALL.iter().map(|code| code.as_str())
);
open!(
    /// Why a model stopped.
    FinishReason, ["stop", "length", "content_filter", "tool_calls"]
);
open!(
    /// Which way routing went.
    RoutingSource, ["explicit", "mention", "single", "cache", "model", "fallback"]
);
open!(
    /// Why a turn was cancelled.
    CancelReason, ["requested", "disconnect", "deleted", "interrupted"]
);
open!(
    /// Why a reply starts over.
    ResetReason, ["takeover"]
);

/// A closed list of texts.
macro_rules! closed {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $(#[doc = concat!("Written `", $text, "`.")] $variant),* }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text),* })
            }
        }
        impl FromStr for $name {
            type Err = &'static str;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(concat!("must be one of" $(, " ", $text)*)),
                }
            }
        }
        text!($name, MetaSchema {
            enum_items: vec![$($text.into()),*],
            ..MetaSchema::new("string")
        });
    };
}

closed! {
    /// How far a turn is.
    TurnStatus { Running = "running", Completed = "completed", Failed = "failed", Cancelled = "cancelled" }
}
closed! {
    /// How far a reply is.
    ReplyStatus {
        Pending = "pending", Running = "running", Completed = "completed", Failed = "failed",
        Cancelled = "cancelled"
    }
}
closed! {
    /// Who said something.
    Role { User = "user", Assistant = "assistant" }
}
closed! {
    /// What happens when the conversation is answering another message.
    OnBusy { Reject = "reject", Interrupt = "interrupt" }
}
closed! {
    /// In which order messages are listed.
    Order { Ascending = "asc", Descending = "desc" }
}

/// The value of one entry of `metadata`.
#[derive(Clone, Debug)]
pub struct MetadataValue(String);

impl fmt::Display for MetadataValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl FromStr for MetadataValue {
    type Err = Infallible;
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}
text!(MetadataValue, MetaSchema { max_length: Some(512), ..MetaSchema::new("string") });

/// The constant `type` of the event that stands at `N` in [`EventBody::NAMES`].
#[derive(Clone, Copy, Debug)]
pub struct EventName<const N: usize>;

impl<const N: usize> fmt::Display for EventName<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EventBody::NAMES[N])
    }
}
impl<const N: usize> FromStr for EventName<N> {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        (text == EventBody::NAMES[N]).then_some(Self).ok_or("is another event's type")
    }
}
macro_rules! event_names {
    ($($n:literal),*) => { $(
        text!(EventName<$n>, MetaSchema {
            enum_items: vec![EventBody::NAMES[$n].into()],
            ..MetaSchema::new("string")
        });
    )* };
}
event_names!(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10);

/// How many messages a page has; only for the document.
#[derive(Debug)]
pub struct PageSize;
shape!(
    PageSize,
    MetaSchema {
        minimum: Some(1.0),
        maximum: Some(100.0),
        default: Some(20.into()),
        ..MetaSchema::new_with_format("integer", "int32")
    }
);

/// What makes a repetition find the same turn; only for the document.
#[derive(Debug)]
pub struct IdempotencyKey;
// 1 to 255 visible characters with or without quotes around them, so not `""`. No example: whoever tries the document's
// examples would use one key for all of them.
shape!(
    IdempotencyKey,
    MetaSchema {
        min_length: Some(1),
        max_length: Some(257),
        pattern: Some(r#"^("[!-~]{1,255}"|[!#-~][!-~]{0,254})$"#.to_owned()),
        ..MetaSchema::new("string")
    }
);

/// A parameter as it was sent, documented as a `T`. The handler checks it, so that all faults of a request are told at
/// once and nothing that was sent is echoed.
#[derive(Debug)]
pub struct Sent<T> {
    /// The text.
    pub text: String,
    documented: PhantomData<fn() -> T>,
}

impl<T> Sent<T> {
    /// Keeps what was sent.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), documented: PhantomData }
    }
}

impl<T: Type> Type for Sent<T> {
    const IS_REQUIRED: bool = true;
    type RawValueType = String;
    type RawElementValueType = String;

    fn name() -> Cow<'static, str> {
        T::name()
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn as_raw_value(&self) -> Option<&String> {
        Some(&self.text)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a String> + 'a> {
        Box::new(std::iter::once(&self.text))
    }
}

impl<T: Type> ParseFromParameter for Sent<T> {
    fn parse_from_parameter(text: &str) -> ParseResult<Self> {
        Ok(Self::new(text))
    }
}
