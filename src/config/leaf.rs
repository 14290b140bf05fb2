//! One thing that the operator said: which key, what, and where.

use std::fmt;
use std::path::PathBuf;

use toml::{Table, Value};

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The file of `--config`.
    File(PathBuf),
    /// A variable, by its name as it was spelt.
    Environment(String),
    /// A flag, by its name.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// The path of a setting, section by section.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(pub Vec<String>);

impl Key {
    /// Splits a dotted name whose parts need no quotes.
    pub fn dotted(name: &str) -> Self {
        Self(name.split('.').map(str::to_owned).collect())
    }

    /// Reads a key as TOML writes it, quotes included: `limits.routes."POST /api/v1/chat"`.
    pub fn parse(text: &str) -> Option<Self> {
        if text.contains(['\n', '\r', '[', '=']) {
            return None;
        }
        let mut table: Table = toml::from_str(&format!("{text} = true")).ok()?;
        let mut parts = Vec::new();
        loop {
            let (part, value) = table.into_iter().next()?;
            parts.push(part);
            let Value::Table(inner) = value else {
                return (value == Value::Boolean(true)).then_some(Self(parts));
            };
            table = inner;
        }
    }

    /// The key below this one.
    pub fn child(&self, part: &str) -> Self {
        Self(self.0.iter().cloned().chain([part.to_owned()]).collect())
    }

    /// The parts as text slices, for matching.
    pub fn parts(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }

    /// Writes `value` at this key, making sections as needed.
    pub fn insert(&self, mut table: &mut Table, value: Value) {
        let Some((last, sections)) = self.0.split_last() else { return };
        for section in sections {
            let entry = table.entry(section.clone()).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(inner) = entry else { return };
            table = inner;
        }
        table.insert(last.clone(), value);
    }

    /// What `table` holds at this key.
    pub fn find<'a>(&self, table: &'a Table) -> Option<&'a Value> {
        let (first, rest) = self.0.split_first()?;
        rest.iter().try_fold(table.get(first)?, |value, part| value.as_table()?.get(part))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, part) in self.0.iter().enumerate() {
            let bare = !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
            let dot = if place > 0 { "." } else { "" };
            if bare { write!(f, "{dot}{part}")? } else { write!(f, "{dot}{part:?}")? }
        }
        Ok(())
    }
}

/// One value and where it was given. Not `Debug`: the value may be a secret.
#[derive(Clone)]
pub(super) struct Leaf {
    pub key: Key,
    pub value: Value,
    pub origin: Origin,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_toml_writes_it() {
        let key = Key::parse("limits.routes.\"POST /api/v1/chat\"").unwrap();
        assert_eq!(key.0, ["limits", "routes", "POST /api/v1/chat"]);
        assert_eq!(key.to_string(), "limits.routes.\"POST /api/v1/chat\"");
        for wrong in ["", ".", "a b", "a = 1\nb", "[x]\na", "a = true #"] {
            assert!(Key::parse(wrong).is_none(), "{wrong:?}");
        }
    }
}
