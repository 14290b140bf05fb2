//! Names of things: conversations, turns, messages, personas, replicas, requests and the places in a turn's log.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rand::Rng as _;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::{ConversationKey, Invalid};

/// Makes a ULID of this moment. Its lowest byte is zero, so that a turn's messages can be numbered above it.
pub fn new_ulid(milliseconds: u64) -> Ulid {
    let random: u128 = rand::rng().random();
    Ulid::from_parts(milliseconds, random & !0xff)
}

macro_rules! text_serde {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $max:literal, $allowed:expr, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                let allowed: fn(u8) -> bool = $allowed;
                let right = (1..=$max).contains(&text.len()) && text.bytes().all(allowed);
                right.then(|| Self(text.into())).ok_or(Invalid($rule))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        text_serde!($name);
    };
}

name!(
    /// A conversation's name: given by the caller, or made here from 128 random bits.
    ConversationId, 64, |b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-',
    "must match ^[A-Za-z0-9_-]{1,64}$"
);
name!(
    /// A persona's name, as written in the personas file and after `@` in a message.
    PersonaId, 64, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-',
    "must match ^[a-z0-9_-]{1,64}$"
);
name!(
    /// What ties a request, its turn, its log lines and its model calls together.
    RequestId, 128, |b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'),
    "must match ^[A-Za-z0-9._-]{1,128}$"
);
name!(
    /// One running process: new at every start.
    ReplicaId, 64, |b| b.is_ascii_alphanumeric() || b == b'-',
    "must match ^[A-Za-z0-9-]{1,64}$"
);

/// What a caller is called: the name of an API key, or a token's subject (RFC 7519 §4.1.2). On one line, at most 255 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallerName(Arc<str>);

impl CallerName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CallerName {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        // Neither control characters nor line separators nor what changes the direction of a line in somebody's log.
        let misleads =
            |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let right = (1..=255).contains(&text.len()) && !text.contains(misleads);
        right.then(|| Self(text.into())).ok_or(Invalid("must have 1 to 255 bytes and no control characters"))
    }
}

impl fmt::Display for CallerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
text_serde!(CallerName);

impl ConversationId {
    /// Makes an id nobody can guess.
    pub fn random() -> Self {
        Self(format!("{:032x}", rand::rng().random::<u128>()).into())
    }
}

impl RequestId {
    /// Makes an id for a request that brought none.
    pub fn random() -> Self {
        Self(format!("{:016x}", rand::rng().random::<u64>()).into())
    }
}

impl ReplicaId {
    /// Makes the id of this process.
    pub fn random() -> Self {
        Self(format!("{:016x}", rand::rng().random::<u64>()).into())
    }
}

/// A turn's id: a ULID, and the tag of its conversation, so that any replica finds its keys from the id alone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TurnId {
    ulid: Ulid,
    tag: u16,
}

impl TurnId {
    /// Names a turn of `conversation`; `ulid` comes from [`new_ulid`].
    pub fn new(ulid: Ulid, conversation: &ConversationKey) -> Self {
        Self { ulid, tag: conversation.tag() }
    }

    /// The moment of the turn's start, in milliseconds since 1970, by the clock that made the id.
    pub fn started_ms(&self) -> u64 {
        self.ulid.timestamp_ms()
    }

    /// The hash tag of the turn's conversation.
    pub fn tag(&self) -> u16 {
        self.tag
    }

    /// The id of the turn's user message.
    pub fn user_message(&self) -> MessageId {
        MessageId(Ulid(self.ulid.0 + 1))
    }

    /// The id of the message made by the `nth` chosen persona (from 0, at most 250).
    pub fn reply_message(&self, nth: usize) -> MessageId {
        MessageId(Ulid(self.ulid.0 + 2 + nth.min(250) as u128))
    }
}

impl fmt::Display for TurnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:04x}", self.ulid, self.tag)
    }
}

impl FromStr for TurnId {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parse = || {
            let (ulid, tag) = text.split_once('-')?;
            let lower_hex = tag.len() == 4 && tag.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            let ulid = parse_ulid(ulid)?;
            lower_hex.then(|| u16::from_str_radix(tag, 16).ok().map(|tag| Self { ulid, tag }))?
        };
        parse().ok_or(Invalid("must be the id of a turn"))
    }
}
text_serde!(TurnId);

/// A message's id: a ULID that sorts by turn, then by place within the turn.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub Ulid);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for MessageId {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        parse_ulid(text).map(Self).ok_or(Invalid("must be the id of a message"))
    }
}
text_serde!(MessageId);

/// An open socket's id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub Ulid);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ConnectionId {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        parse_ulid(text).map(Self).ok_or(Invalid("must be the id of a connection"))
    }
}
text_serde!(ConnectionId);

/// Parses the one canonical spelling: 26 upper-case characters of Crockford's alphabet, no overflow.
fn parse_ulid(text: &str) -> Option<Ulid> {
    let ulid = Ulid::from_string(text).ok()?;
    (ulid.to_string() == text).then_some(ulid)
}

/// A place in a turn's log. `epoch` grows with every owner, `seq` starts at 1 in each epoch and has no gaps;
/// `0-0` is before everything. Opaque to clients.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId {
    /// Which owner wrote it.
    pub epoch: u64,
    /// Its number within the epoch.
    pub seq: u64,
}

impl EventId {
    /// Before the first event of any turn.
    pub const START: Self = Self { epoch: 0, seq: 0 };

    /// The id that follows within the same epoch.
    pub fn next(self) -> Self {
        Self { epoch: self.epoch, seq: self.seq + 1 }
    }

    /// The place before the first event of `epoch`.
    pub fn before(epoch: u64) -> Self {
        Self { epoch, seq: 0 }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.seq)
    }
}

impl FromStr for EventId {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let number = |digits: &str| -> Option<u64> {
            let canonical = digits == "0" || !digits.starts_with('0');
            let plain = canonical && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse().ok())?
        };
        text.split_once('-')
            .and_then(|(epoch, seq)| Some(Self { epoch: number(epoch)?, seq: number(seq)? }))
            .ok_or(Invalid("must be the id of an event"))
    }
}
text_serde!(EventId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_id_survives_its_text_form() {
        let id = TurnId::new(new_ulid(1_795_460_442_000), &"team-42".parse().unwrap());
        assert_eq!(id.to_string().parse::<TurnId>().unwrap(), id);
        assert!(id.user_message() < id.reply_message(0));
    }

    #[test]
    fn only_the_canonical_spelling_of_an_event_id_is_one() {
        for wrong in ["", "1", "1-", "-1", "01-1", "1-01", "+1-1", "1-1-1", "1-99999999999999999999", "a-b"] {
            assert!(wrong.parse::<EventId>().is_err(), "{wrong}");
        }
        assert_eq!("12-7".parse::<EventId>().unwrap(), EventId { epoch: 12, seq: 7 });
    }

    /// What is taken for a name of something is printed as it was read.
    fn is_itself<T: FromStr + fmt::Display>(text: &str) {
        if let Ok(name) = text.parse::<T>() {
            assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn fuzz_names() {
        crate::fuzz::run("names", |bytes| {
            let Ok(text) = std::str::from_utf8(bytes) else { return };
            is_itself::<ConversationId>(text);
            is_itself::<PersonaId>(text);
            is_itself::<RequestId>(text);
            is_itself::<ReplicaId>(text);
            is_itself::<CallerName>(text);
            is_itself::<TurnId>(text);
            is_itself::<EventId>(text);
            if let Ok(id) = text.parse::<MessageId>() {
                assert_eq!(id.to_string().parse::<MessageId>().unwrap(), id);
            }
            if let Ok(principal) = text.parse::<crate::words::Principal>() {
                assert_eq!(principal.to_string().parse::<crate::words::Principal>().unwrap(), principal);
            }
        });
    }
}
