//! The events of a turn.

use std::borrow::Cow;

use poem_openapi::Object;
use poem_openapi::registry::{MetaDiscriminatorObject, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseResult, Type};
use serde_json::Value;

use super::problem::Problem;
use super::scalars::{CancelReason, EventName, FinishReason, ResetReason};
use super::turn::{ConversationRef, Routing, Usage};
use crate::words::{EventBody, EventId, MessageId, PersonaId, Timestamp, TurnId};

/// Declares the members of the union, in the order of [`EventBody::NAMES`].
macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $n:literal { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Object)]
            #[oai(deny_unknown_fields, skip_serializing_if_is_none)]
            pub struct $name {
                #[oai(rename = "type")]
                kind: EventName<$n>,
                /// Its place in the turn's log; opaque.
                id: EventId,
                /// The turn.
                turn_id: TurnId,
                /// When it happened.
                time: Timestamp,
                $($(#[$field_doc])* $field: $type,)*
            }
        )*

        const MEMBERS: &[&str] = &[$(stringify!($name)),*];

        fn register_members(registry: &mut Registry) {
            $($name::register(registry);)*
        }

        fn parse_member(place: usize, value: Value) -> Result<(), String> {
            match place {
                $($n => $name::parse_from_json(Some(value)).map(drop).map_err(|error| error.into_message()),)*
                _ => Err("unknown event".into()),
            }
        }
    };
}

events! {
    /// The turn was accepted.
    TurnStartedEvent = 0 {
        /// Where it belongs.
        conversation: ConversationRef,
        /// The id of the user's message.
        message_id: MessageId,
        /// Whether shared state could not be reached.
        degraded: Option<bool>,
    }
    /// The personas were chosen.
    RoutingDecidedEvent = 1 {
        /// Who, and why.
        routing: Routing,
    }
    /// A persona's model is about to be called.
    ReplyStartedEvent = 2 {
        /// Who speaks.
        persona: PersonaId,
    }
    /// A piece of a reply's text; the pieces of different personas interleave.
    ReplyDeltaEvent = 3 {
        /// Who speaks.
        persona: PersonaId,
        /// The piece.
        text: String,
    }
    /// Forget all of this reply: it starts over.
    ReplyResetEvent = 4 {
        /// Who starts over.
        persona: PersonaId,
        /// Why.
        reason: ResetReason,
    }
    /// A reply ended well; it comes with the whole text.
    ReplyCompletedEvent = 5 {
        /// Who spoke.
        persona: PersonaId,
        /// Its message in the conversation.
        message_id: MessageId,
        /// The whole text.
        content: String,
        /// Why the model stopped.
        finish_reason: FinishReason,
        /// The model that answered.
        model: Option<String>,
        /// What it cost.
        usage: Option<Usage>,
    }
    /// A reply ended badly; the others go on.
    ReplyFailedEvent = 6 {
        /// Who should have spoken.
        persona: PersonaId,
        /// Why not.
        error: Problem,
    }
    /// A reply was cut short.
    ReplyCancelledEvent = 7 {
        /// Who spoke.
        persona: PersonaId,
        /// Its message, if anything was said.
        message_id: Option<MessageId>,
        /// What was said.
        content: String,
    }
    /// The turn ended; at least one reply completed. Nothing follows.
    TurnCompletedEvent = 8 {
        /// The sum over all replies.
        usage: Option<Usage>,
    }
    /// The turn ended; no reply completed. Nothing follows.
    TurnFailedEvent = 9 {
        /// Why.
        error: Problem,
    }
    /// The turn was cut short. Nothing follows.
    TurnCancelledEvent = 10 {
        /// Why.
        reason: CancelReason,
    }
}

/// Any event of a turn: a union over `type`, written by hand because poem-openapi's derive would name its members
/// after itself and keep `type` out of them.
#[derive(Debug)]
pub struct TurnEvent;

impl Type for TurnEvent {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "TurnEvent".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Reference(Self::name().into_owned())
    }

    fn register(registry: &mut Registry) {
        registry.create_schema::<Self, _>(Self::name().into_owned(), |registry| {
            register_members(registry);
            let reference = |name: &&str| MetaSchemaRef::Reference((*name).to_owned());
            let path = |name: &&str| format!("#/components/schemas/{name}");
            let mapping = EventBody::NAMES.iter().zip(MEMBERS);
            MetaSchema {
                description: Some(
                    "An event of a turn. More types may be added: take no notice of one you do not know.",
                ),
                one_of: MEMBERS.iter().map(reference).collect(),
                discriminator: Some(MetaDiscriminatorObject {
                    property_name: "type",
                    mapping: mapping.map(|(name, member)| ((*name).to_owned(), path(member))).collect(),
                }),
                ..MetaSchema::ANY
            }
        });
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl ParseFromJSON for TurnEvent {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        let value = value.unwrap_or_default();
        let name = value.get("type").and_then(Value::as_str).unwrap_or_default();
        let place = EventBody::NAMES.iter().position(|known| *known == name).unwrap_or(usize::MAX);
        parse_member(place, value).map_err(ParseError::<Self>::custom)?;
        Ok(Self)
    }
}
