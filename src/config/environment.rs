//! What the environment and flags say: texts, typed by the default of their key.

use std::ffi::OsString;
use std::path::Path;

use toml::Value;

use super::aliases;
use super::leaf::{Key, Leaf, Origin};
use super::problem::Problem;
use super::schema::{Schema, Slot, unknown};
use super::secret;

/// What our own variables begin with. One underscore is not enough: Kubernetes sets `POLYLOGUE_PORT` by itself.
const PREFIX: &str = "POLYLOGUE__";

/// The settings that `variables` hold: aliases first, then our own names, which win.
pub(super) fn leaves(
    variables: &[(OsString, OsString)],
    schema: &Schema,
    problems: &mut Vec<Problem>,
) -> [Vec<Leaf>; 2] {
    let (mut aliases, mut own) = (Vec::new(), Vec::new());
    for (name, value) in variables {
        let Some(name) = name.to_str() else { continue };
        let origin = Origin::Environment(name.to_owned());
        let known = aliases::find(name);
        let key = match (known, own_key(name)) {
            (Some(_), _) if value.is_empty() || aliases::is_overruled(name, variables) => continue,
            (Some(alias), _) => Key::dotted(alias.key),
            (None, Some(key)) => key,
            (None, None) => continue,
        };
        let Some(text) = value.to_str() else {
            problems.push(Problem::at(&origin, format!("{key}: must be UTF-8")));
            continue;
        };
        let text = match known {
            Some(alias) => alias.read(text, is_duration(schema, &key)),
            None => text.to_owned(),
        };
        match leaf(key, &text, origin, schema) {
            Ok(leaf) if known.is_some() => aliases.push(leaf),
            Ok(leaf) => own.push(leaf),
            Err(problem) => problems.push(problem),
        }
    }
    [aliases, own]
}

/// `POLYLOGUE__LLM__TIMEOUT` is `llm.timeout`.
fn own_key(name: &str) -> Option<Key> {
    let begins = name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX));
    let rest = begins.then(|| name[PREFIX.len()..].to_ascii_lowercase())?;
    Some(Key(rest.split("__").map(str::to_owned).collect()))
}

/// The variable of a key.
pub(super) fn variable(key: &Key) -> String {
    format!("{PREFIX}{}", key.0.join("__").to_ascii_uppercase())
}

/// Makes a setting of a text; secrets are read from their files.
pub(super) fn leaf(key: Key, text: &str, origin: Origin, schema: &Schema) -> Result<Leaf, Problem> {
    let wrong = |reason: String| Err(Problem::at(&origin, reason));
    match schema.slot(&key) {
        None => wrong(unknown(schema, &key)),
        Some(Slot::Section) => wrong(format!("{key} is a section, not a key")),
        Some(Slot::Upstreams) => wrong(format!("{key} can only be given in a file")),
        Some(Slot::Secret) => Ok(Leaf { key, value: Value::String(text.to_owned()), origin }),
        Some(Slot::SecretFile(secret)) => {
            let text = secret::read(Path::new(text), &secret, &origin)?;
            Ok(Leaf { key: secret, value: Value::String(text), origin })
        }
        Some(Slot::Value(default)) => match typed(default, text) {
            Ok(value) => Ok(Leaf { key, value, origin }),
            Err(reason) => wrong(format!("{key} = {text:?}: {reason}")),
        },
    }
}

/// `text` as a value of the same type as `default`.
fn typed(default: &Value, text: &str) -> Result<Value, &'static str> {
    match default {
        Value::Integer(_) => text.trim().parse().map(Value::Integer).map_err(|_| "must be a whole number"),
        Value::Float(_) => text.trim().parse().map(Value::Float).map_err(|_| "must be a number"),
        Value::Boolean(_) => truth(text).map(Value::Boolean).ok_or("must be true or false"),
        Value::Array(_) => Ok(Value::Array(list(text))),
        Value::String(_) => Ok(Value::String(text.to_owned())),
        Value::Datetime(_) | Value::Table(_) => Err("cannot be given as a text"),
    }
}

pub(super) fn truth(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn list(text: &str) -> Vec<Value> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(|item| Value::String(item.to_owned())).collect()
}

/// Whether the key is a length of time.
fn is_duration(schema: &Schema, key: &Key) -> bool {
    match schema.slot(key) {
        Some(Slot::Value(Value::String(default))) => humantime::parse_duration(default).is_ok(),
        Some(Slot::Value(_) | Slot::Section | Slot::Secret | Slot::SecretFile(_) | Slot::Upstreams)
        | None => false,
    }
}
