//! The settings in force, as a file that could be given back; secrets are hidden.

use std::fmt::Write as _;

use toml::{Table, Value};

use super::leaf::Key;
use super::load::Effective;

impl Effective {
    /// TOML, with where each value came from that is not a default.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        if let Ok(table) = Table::try_from(&self.config) {
            self.section(&table, &Key::default(), &mut out);
        }
        out
    }

    fn section(&self, table: &Table, key: &Key, out: &mut String) {
        let (sections, values): (Vec<_>, Vec<_>) = table.iter().partition(|(_, value)| is_section(value));
        if !key.0.is_empty() && (!values.is_empty() || sections.is_empty()) {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{}[{key}]", if out.is_empty() { "" } else { "\n" });
        }
        for (name, value) in values {
            self.line(&key.child(name), value, out);
        }
        for (name, value) in sections {
            self.subsection(&key.child(name), value, out);
        }
    }

    fn line(&self, key: &Key, value: &Value, out: &mut String) {
        let name = Key(key.0.iter().skip(key.0.len() - 1).cloned().collect());
        let _ = writeln!(out, "{name} = {value}{}", self.origin(key));
    }

    fn subsection(&self, key: &Key, value: &Value, out: &mut String) {
        if let Value::Table(table) = value {
            return self.section(table, key, out);
        }
        for table in value.as_array().into_iter().flatten().filter_map(Value::as_table) {
            let _ = writeln!(out, "\n[[{key}]]{}", self.origin(key));
            for (name, value) in table {
                let _ = writeln!(out, "{} = {value}", Key(vec![name.clone()]));
            }
        }
    }

    /// Where the value was given, as a comment; nothing for a default.
    fn origin(&self, key: &Key) -> String {
        let origin = self.origins.get(key).map(|origin| format!("  # {origin}"));
        origin.unwrap_or_default().replace(['\n', '\r'], " ")
    }
}

fn is_section(value: &Value) -> bool {
    value.is_table() || value.as_array().is_some_and(|items| items.first().is_some_and(Value::is_table))
}
