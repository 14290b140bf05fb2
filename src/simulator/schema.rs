//! JSON that a schema accepts (`response_format: json_schema`), for the parts of JSON Schema that such formats allow.

use serde_json::{Map, Number, Value};

use super::dice::Dice;
use super::prose;

/// How deep values nest; a schema may refer to itself.
const MAX_DEPTH: usize = 12;
/// How many values one answer has; a schema may ask for many lists of many lists.
const MAX_VALUES: usize = 2_000;
/// How many items a list has at most where the schema does not ask for more.
const MAX_ITEMS: usize = 2;

/// A value that `schema` accepts; the same for the same dice.
pub(super) fn answer(schema: &Value, dice: &mut Dice) -> Value {
    Writer { root: schema, dice, values_left: MAX_VALUES }.value(schema, 0)
}

struct Writer<'a> {
    root: &'a Value,
    dice: &'a mut Dice,
    values_left: usize,
}

impl<'a> Writer<'a> {
    fn value(&mut self, schema: &'a Value, depth: usize) -> Value {
        if depth > MAX_DEPTH || self.values_left == 0 {
            return Value::Null;
        }
        self.values_left -= 1;

        if let Some(fixed) = schema.get("const") {
            return fixed.clone();
        }
        if let Some(choices) = choices(schema) {
            return choices[self.dice.below(choices.len())].clone();
        }
        if let Some(inner) = self.instead_of(schema) {
            return self.value(inner, depth + 1);
        }
        match kind(schema) {
            "object" => self.object(schema, depth),
            "array" => self.list(schema, depth),
            "integer" => Value::from(self.integer(schema)),
            "number" => Number::from_f64(self.integer(schema) as f64).map_or(Value::Null, Value::Number),
            "boolean" => Value::Bool(self.dice.chance(0.5)),
            "string" => Value::String(self.text(schema)),
            _ => Value::Null,
        }
    }

    /// What a reference points to, or the first of several forms that is not just null.
    fn instead_of(&self, schema: &'a Value) -> Option<&'a Value> {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            return self.root.pointer(reference.strip_prefix('#')?);
        }
        let forms = ["anyOf", "oneOf", "allOf"].iter().find_map(|key| schema.get(*key)?.as_array())?;
        forms.iter().find(|form| kind(form) != "null")
    }

    fn object(&mut self, schema: &'a Value, depth: usize) -> Value {
        let mut members = Map::new();
        for (name, member) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            members.insert(name.clone(), self.value(member, depth + 1));
        }
        Value::Object(members)
    }

    fn list(&mut self, schema: &'a Value, depth: usize) -> Value {
        let Some(item) = schema.get("items") else { return Value::Array(Vec::new()) };
        let least = size(schema, "minItems").unwrap_or(1).max(1);
        let most = size(schema, "maxItems").unwrap_or(usize::MAX).min(MAX_ITEMS.max(least));
        let count = least.min(most) + self.dice.below(most.saturating_sub(least) + 1);

        if let Some(choices) = choices(self.instead_of(item).unwrap_or(item)) {
            return Value::Array(self.different(choices, count));
        }
        Value::Array((0..count.min(self.values_left)).map(|_| self.value(item, depth + 1)).collect())
    }

    /// `count` choices, or all there are, none twice.
    fn different(&mut self, choices: &[Value], count: usize) -> Vec<Value> {
        let mut left = choices.to_vec();
        (0..count.min(choices.len())).map(|_| left.remove(self.dice.below(left.len()))).collect()
    }

    fn integer(&mut self, schema: &Value) -> i64 {
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64).map(|bound| bound as i64);
        let least = bound("minimum").or(bound("exclusiveMinimum").map(|n| n.saturating_add(1))).unwrap_or(0);
        let most = bound("maximum").or(bound("exclusiveMaximum").map(|n| n.saturating_sub(1)));
        let range = most.unwrap_or(least.saturating_add(100)).saturating_sub(least).clamp(0, 1_000_000);
        least.saturating_add(self.dice.below(usize::try_from(range).unwrap_or_default() + 1) as i64)
    }

    fn text(&mut self, schema: &Value) -> String {
        let mut text = prose::tokens(8, self.dice).concat();
        let least = size(schema, "minLength").unwrap_or(0).min(MAX_VALUES);
        while text.chars().count() < least {
            text += &prose::tokens(8, self.dice).concat();
        }
        text.chars().take(size(schema, "maxLength").unwrap_or(usize::MAX)).collect()
    }
}

fn choices(schema: &Value) -> Option<&[Value]> {
    schema.get("enum").and_then(Value::as_array).map(Vec::as_slice).filter(|choices| !choices.is_empty())
}

/// The first type that is not null; an object where only properties are given.
fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("null")
        }
        _ if schema.get("properties").is_some() => "object",
        _ => "string",
    }
}

fn size(schema: &Value, key: &str) -> Option<usize> {
    schema.get(key).and_then(Value::as_u64).map(|size| usize::try_from(size).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answers(schema: &Value) -> impl Iterator<Item = Value> {
        (0..50).map(move |seed| answer(schema, &mut Dice::new(seed, [])))
    }

    #[test]
    fn a_routing_decision_names_one_or_two_different_personas_of_the_schema() {
        let schema = json!({
            "type": "object",
            "properties": {
                "personas": {"type": "array", "items": {"$ref": "#/$defs/Persona"}, "minItems": 1, "maxItems": 5},
                "reason": {"type": "string", "maxLength": 20},
            },
            "required": ["personas", "reason"],
            "$defs": {"Persona": {"type": "string", "enum": ["historian", "skeptic", "poet"]}},
        });
        let mut seen = std::collections::BTreeSet::new();
        for answer in answers(&schema) {
            let personas: Vec<_> =
                answer["personas"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
            assert!((1..=2).contains(&personas.len()), "{answer}");
            assert!(personas.len() == 1 || personas[0] != personas[1], "{answer}");
            seen.extend(personas.into_iter().map(str::to_owned));
            assert!((1..=20).contains(&answer["reason"].as_str().unwrap().chars().count()));
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["historian", "poet", "skeptic"]);
    }

    #[test]
    fn numbers_keep_within_their_bounds_and_optional_values_are_given() {
        let schema = json!({"type": "object", "properties": {
            "n": {"type": "integer", "minimum": 3, "maximum": 5},
            "x": {"type": ["null", "number"], "minimum": -2, "maximum": -1},
            "b": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
            "c": {"const": "fixed"},
        }});
        for answer in answers(&schema) {
            assert!((3..=5).contains(&answer["n"].as_i64().unwrap()), "{answer}");
            assert!((-2.0..=-1.0).contains(&answer["x"].as_f64().unwrap()), "{answer}");
            assert!(answer["b"].is_boolean() && answer["c"] == "fixed", "{answer}");
        }
    }

    #[test]
    fn a_schema_that_contains_itself_comes_to_an_end() {
        let schema = json!({"type": "object", "properties": {
            "children": {"type": "array", "minItems": 9, "items": {"$ref": "#"}},
        }});
        assert!(answer(&schema, &mut Dice::new(1, [])).is_object());
    }
}
