//! Who may ask: API keys, tokens, tickets.

mod issuer;
mod keys;
mod matrix;
mod rotation;
mod sockets;
mod tokens;

use polylogue::auth::ApiKey;
use serde_json::{Value, json};

use crate::support::Scratch;

/// A file of API keys that a test changes.
pub struct KeysFile(Scratch);

impl KeysFile {
    pub fn new(entries: &[String]) -> Self {
        Self(Scratch::file("toml", &document(entries)))
    }

    pub fn path(&self) -> std::path::PathBuf {
        self.0.path()
    }

    pub fn write(&self, entries: &[String]) {
        self.write_text(&document(entries));
    }

    pub fn write_text(&self, text: &str) {
        // As a mounted Secret changes: all at once.
        let new = self.path().with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }
}

fn document(entries: &[String]) -> String {
    if entries.is_empty() { "keys = []".to_owned() } else { entries.concat() }
}

pub fn key() -> ApiKey {
    ApiKey::random().unwrap()
}

/// An entry of the file, with more lines.
pub fn entry(name: &str, key: &ApiKey, more: &str) -> String {
    format!("[[keys]]\nname = \"{name}\"\nsha256 = \"{}\"\n{more}\n", key.digest())
}

pub fn hello() -> Value {
    json!({"message": "Was Troy real?", "personas": ["historian"]})
}
