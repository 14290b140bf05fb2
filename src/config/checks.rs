//! Whether one value is right by itself.

use toml::{Table, Value};

use super::leaf::{Key, Leaf};
use super::problem::Problem;
use super::schema::{Schema, Slot};
use super::{Config, secret};

/// Durations that may be zero; for all others zero would spin, refuse everything or never end.
const MAY_BE_ZERO: [&str; 12] = [
    "turns.max_delay",
    "server.drain_delay",
    "server.hsts_max_age",
    "server.grace",
    "server.close_spread",
    "llm.retry.wait",
    "llm.retry.max_wait",
    "redis.retry.wait",
    "redis.retry.max_wait",
    "turns.flush_interval",
    "simulator.time_to_first_token",
    "simulator.token_gap",
];

/// What is wrong with this value alone, on top of the defaults.
pub(super) fn check(leaf: &Leaf, schema: &Schema) -> Result<(), Problem> {
    match schema.slot(&leaf.key) {
        Some(Slot::Secret) => match secret::wrong(&leaf.value) {
            Some(wrong) => Err(Problem::at(&leaf.origin, format!("{}: {wrong}", leaf.key))),
            None => Ok(()),
        },
        Some(Slot::Value(default)) => applied(leaf, schema).and_then(|()| not_zero(leaf, default)),
        Some(Slot::Upstreams) => applied(leaf, schema),
        Some(Slot::Section | Slot::SecretFile(_)) | None => Ok(()),
    }
}

fn applied(leaf: &Leaf, schema: &Schema) -> Result<(), Problem> {
    let mut table = schema.defaults().clone();
    if let ["limits", "policies", policy, _] = leaf.key.parts()[..] {
        complete_policy(&mut table, policy);
    }
    leaf.key.insert(&mut table, leaf.value.clone());
    let Err((path, reason)) = deserialize(table) else { return Ok(()) };
    let inside = path.starts_with(&format!("{}[", leaf.key));
    let subject = if inside { path } else { shown(leaf) };
    Err(Problem::at(&leaf.origin, format!("{subject}: {reason}")))
}

/// Gives a new policy everything it needs, so that one of its values can be looked at alone.
fn complete_policy(table: &mut Table, policy: &str) {
    let key = Key::dotted("limits.policies").child(policy);
    if key.find(table).is_none()
        && let Some(default) = Key::dotted("limits.policies.default").find(table).cloned()
    {
        key.insert(table, default);
    }
}

fn not_zero(leaf: &Leaf, default: &Value) -> Result<(), Problem> {
    let zero = match (default.as_str(), leaf.value.as_str()) {
        (Some(default), Some(text)) if humantime::parse_duration(default).is_ok() => {
            humantime::parse_duration(text).is_ok_and(|duration| duration.is_zero())
        }
        (Some(default), Some(text)) if default.parse::<bytesize::ByteSize>().is_ok() => {
            text.parse::<bytesize::ByteSize>().is_ok_and(|size| size.as_u64() == 0)
        }
        _ => false,
    };
    if zero && !MAY_BE_ZERO.contains(&leaf.key.to_string().as_str()) {
        return Err(Problem::at(&leaf.origin, format!("{}: must be above zero", shown(leaf))));
    }
    Ok(())
}

/// `key = value`, as far as it fits on a line; only for what is not a secret.
fn shown(leaf: &Leaf) -> String {
    match &leaf.value {
        Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => {
            let value: String = leaf.value.to_string().chars().take(80).collect();
            format!("{} = {value}", leaf.key)
        }
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => leaf.key.to_string(),
    }
}

/// The configuration of a whole table, or where and why it is none.
pub(super) fn deserialize(table: Table) -> Result<Config, (String, String)> {
    serde_path_to_error::deserialize(Value::Table(table)).map_err(|error| {
        let reason = error.inner().message().trim_end().to_owned();
        (error.path().to_string(), reason)
    })
}
