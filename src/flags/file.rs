//! The file: flagd's format, just the parts that these flags need. Anything else is an error, never ignored.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::rollout::{BucketBy, Rule, Shares};
use super::{KNOWN, Table};

/// The largest file; four flags need a thousandth of it.
const MAX_BYTES: u64 = 1 << 20;

/// What was found at the file's path; compared to see a change.
pub(super) type Content = Result<Arc<[u8]>, Unreadable>;

/// Why there is no content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The system says so.
    #[error("{0}")]
    Io(io::ErrorKind),
    /// It has more than 1 MiB.
    #[error("it is larger than 1 MiB")]
    TooLarge,
}

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
pub enum FlagsError {
    /// It cannot be read.
    #[error("the flags file cannot be read")]
    Unreadable(#[from] Unreadable),
    /// It is not JSON in flagd's format.
    #[error("the flags file is not in flagd's format")]
    Syntax(#[from] serde_json::Error),
    /// It has a flag that there is not.
    #[error("there is no flag {name:?}; there are {}", KNOWN.join(", "))]
    Unknown {
        /// The flag it has.
        name: String,
    },
    /// A flag says something that is not understood here.
    #[error("flag {flag}: {reason}")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// Why it is not understood.
        reason: String,
    },
}

/// Reads the file, but not more than a flags file may have. Blocks.
pub(super) fn read(path: &Path) -> Content {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error: io::Error| Unreadable::Io(error.kind()))?;
    if bytes.len() as u64 > MAX_BYTES { Err(Unreadable::TooLarge) } else { Ok(bytes.into()) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    flags: BTreeMap<String, Definition>,
    #[serde(default, rename = "$schema")]
    _schema: Value,
    #[serde(default, rename = "metadata")]
    _metadata: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Definition {
    state: Status,
    variants: Map<String, Value>,
    #[serde(default)]
    default_variant: Option<String>,
    #[serde(default = "no_targeting")]
    targeting: Value,
    #[serde(default, rename = "metadata")]
    _metadata: Value,
}

fn no_targeting() -> Value {
    json!({})
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    Enabled,
    Disabled,
}

impl Table {
    pub(super) fn parse(content: &Content) -> Result<Self, FlagsError> {
        let document: Document = serde_json::from_slice(content.as_ref().map_err(|why| *why)?)?;
        let mut table = Self::default();
        for (name, definition) in document.flags {
            let fault = |flag| move |reason| FlagsError::Flag { flag, reason };
            match name.as_str() {
                "routing" => table.routing = rule(&definition, switch).map_err(fault("routing"))?,
                "routing_cache" => {
                    table.routing_cache = rule(&definition, switch).map_err(fault("routing_cache"))?;
                }
                "parallel_replies" => {
                    table.parallel_replies = rule(&definition, switch).map_err(fault("parallel_replies"))?;
                }
                "max_personas" => {
                    table.max_personas = rule(&definition, count).map_err(fault("max_personas"))?;
                }
                _ => return Err(FlagsError::Unknown { name }),
            }
        }
        Ok(table)
    }
}

fn switch(value: &Value) -> Result<bool, &'static str> {
    value.as_bool().ok_or("must be true or false")
}

fn count(value: &Value) -> Result<NonZeroUsize, &'static str> {
    let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
    count.and_then(NonZeroUsize::new).ok_or("must be a whole number from 1")
}

/// Checks all that a definition says; a disabled flag then has the program's own default.
fn rule<V: Copy>(
    definition: &Definition,
    parse: impl Fn(&Value) -> Result<V, &'static str>,
) -> Result<Rule<V>, String> {
    let mut variants = BTreeMap::new();
    for (name, value) in &definition.variants {
        variants.insert(name.as_str(), parse(value).map_err(|wrong| format!("variant {name:?} {wrong}"))?);
    }
    let variant =
        |name: &str| variants.get(name).copied().ok_or_else(|| format!("there is no variant {name:?}"));

    let default = definition.default_variant.as_deref().map(variant).transpose()?;
    let shares = shares(&definition.targeting, variant)?;
    Ok(match definition.state {
        Status::Enabled => Rule { default, shares },
        Status::Disabled => Rule::default(),
    })
}

/// `{}` is no targeting; otherwise it must be `{"fractional": [how callers are placed, ["variant", weight], …]}`.
fn shares<V: Copy>(
    targeting: &Value,
    variant: impl Fn(&str) -> Result<V, String>,
) -> Result<Option<Shares<V>>, String> {
    let operation = targeting.as_object().ok_or("targeting must be an object")?;
    if operation.is_empty() {
        return Ok(None);
    }
    let only = operation.len() == 1;
    let arguments = operation.get("fractional").and_then(Value::as_array).filter(|_| only);
    let arguments = arguments.ok_or("targeting knows only \"fractional\", with a list")?;
    let (by, entries) = match arguments.split_first() {
        Some((first, rest)) if !first.is_array() => (bucket_by(first)?, rest),
        Some(_) | None => (BucketBy::FlagAndCaller, arguments.as_slice()),
    };
    let weights = entries.iter().map(|entry| share(entry, &variant)).collect::<Result<_, _>>()?;
    let shares = Shares::new(by, weights);
    shares.map(Some).ok_or_else(|| "the weights of \"fractional\" must add up to something".to_owned())
}

fn bucket_by(expression: &Value) -> Result<BucketBy, String> {
    let caller = json!({"var": "targetingKey"});
    if *expression == caller {
        return Ok(BucketBy::Caller);
    }
    if *expression == json!({"cat": [{"var": "$flagd.flagKey"}, caller]}) {
        return Ok(BucketBy::FlagAndCaller);
    }
    Err("\"fractional\" places callers only by {\"var\": \"targetingKey\"}".to_owned())
}

/// `["variant", weight]`; without a weight it is 1.
fn share<V>(entry: &Value, variant: impl Fn(&str) -> Result<V, String>) -> Result<(V, u32), String> {
    let wrong = || "\"fractional\" needs entries like [\"on\", 25]".to_owned();
    match entry.as_array().map(Vec::as_slice) {
        Some([Value::String(name)]) => Ok((variant(name)?, 1)),
        Some([Value::String(name), weight]) => {
            let weight = weight.as_u64().and_then(|weight| u32::try_from(weight).ok()).ok_or_else(wrong)?;
            Ok((variant(name)?, weight))
        }
        _ => Err(wrong()),
    }
}
