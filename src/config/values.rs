//! Values that are right by construction.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A length of time, written `250ms`, `30s`, `15m`, `1h`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl std::ops::Deref for Span {
    type Target = Duration;
    fn deref(&self) -> &Duration {
        &self.0
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = humantime::format_duration(self.0).to_string();
        f.write_str(&text.replace(' ', ""))
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = written(deserializer).ok_or_else(|| serde::de::Error::custom(NOT_A_DURATION))?;
        let duration =
            humantime::parse_duration(&text).map_err(|_| serde::de::Error::custom(NOT_A_DURATION))?;
        if duration > LONGEST {
            return Err(serde::de::Error::custom("must be at most 366 days"));
        }
        Ok(Self(duration))
    }
}

const NOT_A_DURATION: &str = "must be a duration such as 250ms, 30s, 15m or 1h";
const NOT_A_SIZE: &str = "must be a size such as 512KiB or 4MiB";

/// Nothing here is meant to last longer, and adding it to a clock must not overflow.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// The text of a value, or none if it is of another type: one reason for everything that is not the right text.
fn written<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Option<String> {
    String::deserialize(deserializer).ok()
}

/// A number of bytes, written `512KiB`, `4MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub usize);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The largest unit that shows the number exactly.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let exact = units.into_iter().find(|(unit, _)| self.0 > 0 && self.0.is_multiple_of(*unit));
        let (unit, name) = exact.unwrap_or((1, "B"));
        write!(f, "{}{name}", self.0 / unit)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = written(deserializer).ok_or_else(|| serde::de::Error::custom(NOT_A_SIZE))?;
        let size: bytesize::ByteSize = text.parse().map_err(|_| serde::de::Error::custom(NOT_A_SIZE))?;
        Ok(Self(usize::try_from(size.as_u64()).unwrap_or(usize::MAX)))
    }
}

/// What every Redis key begins with: no braces, because those choose the slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct KeyPrefix(String);

impl KeyPrefix {
    /// The prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for KeyPrefix {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b':' | b'.');
        let right = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
        right.then_some(Self(text)).ok_or("must be 1 to 64 letters, digits, '_', '-', ':' or '.'")
    }
}

/// How links begin behind a path prefix: an absolute http or https address without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct PublicUrl(String);

impl PublicUrl {
    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = "must be an address such as https://example.org/polylogue";
        let uri: http::Uri = text.parse().map_err(|_| wrong)?;
        let absolute = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
        let plain = uri.query().is_none();
        (absolute && plain).then(|| Self(text.trim_end_matches('/').to_owned())).ok_or(wrong)
    }
}

/// Reads an empty text as none; the default file shows every key that way.
pub(super) fn none_if_empty<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let value: serde::de::value::StringDeserializer<D::Error> =
        serde::de::IntoDeserializer::into_deserializer(text);
    T::deserialize(value).map(Some)
}

/// Writes none as an empty text.
pub(super) fn empty_if_none<S, T>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error>
where
    S: serde::Serializer,
    T: Serialize,
{
    match value {
        Some(value) => value.serialize(serializer),
        None => serializer.serialize_str(""),
    }
}
