//! What poem-openapi writes differently from what generators read well.

use serde_json::{Map, Value};

use super::Version;
use crate::http::{sse, wire};

/// Walks the whole document and rewrites what needs it.
pub(super) fn tidy(value: &mut Value, version: Version) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| tidy(item, version)),
        Value::Object(members) => {
            flatten_reference(members, version);
            members.values_mut().for_each(|member| tidy(member, version));
            open_lists(members);
            constants(members, version);
            streams(members);
            counts(members);
            whole_numbers(members);
            join_lines(members);
            // These say what is so anyway.
            members.retain(|name, value| match name.as_str() {
                "deprecated" => *value != Value::Bool(false),
                "explode" => !value.is_boolean(),
                _ => true,
            });
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A described reference is written as `allOf` of the reference and a nameless schema with the description twice;
/// generators make a class of the nameless one.
fn flatten_reference(members: &mut Map<String, Value>, version: Version) {
    let Some(Value::Array(parts)) = members.get("allOf") else { return };
    let reference = parts.iter().find(|part| part.get("$ref").is_some()).cloned();
    let (Some(reference), 2) = (reference, parts.len()) else { return };
    match version {
        Version::V30 => drop(members.insert("allOf".into(), vec![reference].into())),
        Version::V31 => {
            members.remove("allOf");
            members.insert("$ref".into(), reference["$ref"].clone());
        }
    }
}

/// Lists that may grow are plain strings to a generator; the known values are for people.
fn open_lists(members: &mut Map<String, Value>) {
    if members.get("format").is_some_and(|format| format == wire::OPEN) {
        members.remove("format");
        if let Some(known) = members.remove("enum") {
            members.insert("x-extensible-enum".into(), known);
        }
    }
}

fn constants(members: &mut Map<String, Value>, version: Version) {
    let Some(Value::Array(values)) = members.get("enum") else { return };
    if let ([only], Version::V31) = (values.as_slice(), version) {
        let only = only.clone();
        members.remove("enum");
        members.insert("const".into(), only);
    }
}

/// A stream is text; what stands in it is said by `x-event-schema`.
fn streams(members: &mut Map<String, Value>) {
    if members.get("format").is_some_and(|format| format == sse::FORMAT) {
        members.remove("format");
        if let Some(event) = members.remove("items") {
            members.insert("x-event-schema".into(), event);
        }
    }
}

/// Generators know signed formats only; what cannot be negative is said by `minimum`.
fn counts(members: &mut Map<String, Value>) {
    let signed = match members.get("format").and_then(Value::as_str) {
        Some("uint64") => "int64",
        Some("uint16") => "int32",
        Some(_) | None => return,
    };
    members.insert("format".into(), signed.into());
    members.entry("minimum").or_insert_with(|| 0.into());
}

fn whole_numbers(members: &mut Map<String, Value>) {
    for name in ["minimum", "maximum"] {
        if let Some(number) = members.get(name).and_then(Value::as_f64).filter(|number| number.fract() == 0.0)
        {
            members.insert(name.into(), (number as i64).into());
        }
    }
}

/// A description's line ends are those of the source; only empty lines mean something.
fn join_lines(members: &mut Map<String, Value>) {
    if let Some(Value::String(text)) = members.get_mut("description") {
        let paragraphs: Vec<String> =
            text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect();
        *text = paragraphs.join("\n\n");
    }
}
