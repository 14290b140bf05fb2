//! One entry of a turn's log.

use std::io::Write as _;
use std::sync::OnceLock;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    CancelReason, ConversationRef, EventId, Failure, MessageId, PersonaId, ResetReason, Routing, Timestamp,
    TurnId, Usage,
};

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum EventBody {
    /// The turn was accepted.
    #[serde(rename = "turn.started")]
    TurnStarted {
        /// Where it belongs.
        conversation: ConversationRef,
        /// The id of the user's message.
        message_id: MessageId,
        /// Whether shared state could not be reached.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        degraded: bool,
    },
    /// The personas were chosen.
    #[serde(rename = "routing.decided")]
    RoutingDecided {
        /// Who, and why.
        routing: Routing,
    },
    /// A persona's model is about to be called.
    #[serde(rename = "reply.started")]
    ReplyStarted {
        /// Who speaks.
        persona: PersonaId,
    },
    /// A piece of a reply's text.
    #[serde(rename = "reply.delta")]
    ReplyDelta {
        /// Who speaks.
        persona: PersonaId,
        /// The piece.
        text: String,
    },
    /// Everything seen of this reply is to be forgotten; it starts over.
    #[serde(rename = "reply.reset")]
    ReplyReset {
        /// Who starts over.
        persona: PersonaId,
        /// Why.
        reason: ResetReason,
    },
    /// A reply ended well.
    #[serde(rename = "reply.completed")]
    ReplyCompleted {
        /// Who spoke.
        persona: PersonaId,
        /// Its message in the conversation.
        message_id: MessageId,
        /// The whole text.
        content: String,
        /// Why the model stopped.
        finish_reason: String,
        /// The model that answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        /// What it cost.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        usage: Option<Usage>,
    },
    /// A reply ended badly.
    #[serde(rename = "reply.failed")]
    ReplyFailed {
        /// Who should have spoken.
        persona: PersonaId,
        /// Why not.
        error: Failure,
    },
    /// A reply was cut short.
    #[serde(rename = "reply.cancelled")]
    ReplyCancelled {
        /// Who spoke.
        persona: PersonaId,
        /// Its message, if anything was said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message_id: Option<MessageId>,
        /// What was said.
        content: String,
    },
    /// The turn ended; at least one reply completed.
    #[serde(rename = "turn.completed")]
    TurnCompleted {
        /// The sum over all replies.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        usage: Option<Usage>,
    },
    /// The turn ended; no reply completed.
    #[serde(rename = "turn.failed")]
    TurnFailed {
        /// Why.
        error: Failure,
    },
    /// The turn was cut short.
    #[serde(rename = "turn.cancelled")]
    TurnCancelled {
        /// Why.
        reason: CancelReason,
    },
}

impl EventBody {
    /// Every name, as in `type` and in an SSE `event:` line.
    pub const NAMES: [&'static str; 11] = [
        "turn.started",
        "routing.decided",
        "reply.started",
        "reply.delta",
        "reply.reset",
        "reply.completed",
        "reply.failed",
        "reply.cancelled",
        "turn.completed",
        "turn.failed",
        "turn.cancelled",
    ];

    /// The event's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::TurnStarted { .. } => "turn.started",
            Self::RoutingDecided { .. } => "routing.decided",
            Self::ReplyStarted { .. } => "reply.started",
            Self::ReplyDelta { .. } => "reply.delta",
            Self::ReplyReset { .. } => "reply.reset",
            Self::ReplyCompleted { .. } => "reply.completed",
            Self::ReplyFailed { .. } => "reply.failed",
            Self::ReplyCancelled { .. } => "reply.cancelled",
            Self::TurnCompleted { .. } => "turn.completed",
            Self::TurnFailed { .. } => "turn.failed",
            Self::TurnCancelled { .. } => "turn.cancelled",
        }
    }

    /// Whether nothing follows it in its turn.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::TurnCompleted { .. } | Self::TurnFailed { .. } | Self::TurnCancelled { .. })
    }

    /// Whether a reader may see it before it is durable (`state.md` §1.2).
    pub fn is_delta(&self) -> bool {
        matches!(self, Self::ReplyDelta { .. })
    }
}

/// One entry of a turn's log, as it is stored, streamed and read.
#[derive(Debug)]
pub struct Event {
    /// Its place in the log.
    pub id: EventId,
    /// The turn it belongs to.
    pub turn_id: TurnId,
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    pub body: EventBody,
    json: OnceLock<Bytes>,
}

impl Event {
    /// Makes the entry `id` of `turn_id`, now.
    pub fn new(id: EventId, turn_id: TurnId, body: EventBody) -> Self {
        Self { id, turn_id, time: Timestamp::now(), body, json: OnceLock::new() }
    }

    /// The event as one line of JSON, beginning with `{"type":`; made once, shared by all readers.
    pub fn json(&self) -> &Bytes {
        self.json.get_or_init(|| self.render().into())
    }

    /// What the event costs in memory and in the log, roughly, in bytes: always the same for one event. A delta is not
    /// rendered for it, because nobody may ever read it.
    pub fn size(&self) -> usize {
        if let EventBody::ReplyDelta { persona, text } = &self.body {
            DELTA_FRAME + persona.as_str().len() + escaped_len(text)
        } else {
            self.json().len()
        }
    }

    fn render(&self) -> Vec<u8> {
        let Self { id, turn_id, time, body, .. } = self;
        let name = body.name();
        let mut json = Vec::with_capacity(DELTA_FRAME + 64);
        // Writing to a Vec cannot fail, nor can what is made of strings and numbers.
        let _ = write!(json, r#"{{"type":"{name}","id":"{id}","turn_id":"{turn_id}","time":"{time}""#);
        let begins = json.len();
        let _ = serde_json::to_writer(&mut json, body);
        // The body says its type too.
        let said_again = begins + r#"{"type":"""#.len() + name.len();
        json.drain(begins..said_again.min(json.len()));
        json
    }
}

/// Bytes of a delta's JSON without its persona and text.
const DELTA_FRAME: usize = 160;

/// Bytes of a text in JSON, or a little more.
fn escaped_len(text: &str) -> usize {
    let more = |byte: &u8| match byte {
        0..0x20 => 5,
        b'"' | b'\\' => 1,
        _ => 0,
    };
    text.len() + text.as_bytes().iter().map(more).sum::<usize>()
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        (self.id, self.turn_id, self.time, &self.body) == (other.id, other.turn_id, other.time, &other.body)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Stored {
            id: EventId,
            turn_id: TurnId,
            time: Timestamp,
            #[serde(flatten)]
            body: EventBody,
        }
        let Stored { id, turn_id, time, body } = Stored::deserialize(deserializer)?;
        Ok(Self { id, turn_id, time, body, json: OnceLock::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_reads_as_in_the_contract() {
        let line = r#"{"type":"reply.delta","id":"1-5","turn_id":"01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2","time":"2026-11-23T19:00:00.410Z","persona":"historian","text":"There was"}"#;
        let event: Event = serde_json::from_str(line).unwrap();
        assert_eq!(std::str::from_utf8(event.json()).unwrap(), line);
    }

    #[test]
    fn a_delta_costs_about_what_its_json_does_whatever_is_in_it() {
        let turn = "01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2".parse().unwrap();
        for text in ["There was", "", "\u{1}\n\"\\", &"é\0".repeat(500)] {
            let body = EventBody::ReplyDelta { persona: "historian".parse().unwrap(), text: text.to_owned() };
            let event = Event::new(EventId { epoch: 1_790_000_000_000, seq: 12_345 }, turn, body);
            let (size, json) = (event.size(), event.json().len());
            assert!((json..=json * 3 / 2).contains(&size), "{size} for {json}: {text:?}");
            assert_eq!(event.size(), size, "the same after it was rendered");
        }
    }

    #[test]
    fn an_event_with_no_members_of_its_own_is_still_json() {
        let turn = "01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2".parse().unwrap();
        let event = Event::new(EventId { epoch: 1, seq: 9 }, turn, EventBody::TurnCompleted { usage: None });
        let back: Event = serde_json::from_slice(event.json()).unwrap();
        assert_eq!(back, event);
    }
}
