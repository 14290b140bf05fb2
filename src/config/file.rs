//! What a configuration file says.

use std::path::Path;

use toml::{Table, Value};

use super::leaf::{Key, Leaf, Origin};
use super::problem::Problem;
use super::schema::{Schema, Slot, unknown};
use super::secret;

/// What an upstream consists of.
const UPSTREAM_KEYS: [&str; 5] = ["name", "base_url", "api_key", "api_key_file", "model"];

/// Reads the file and takes it apart; what is wrong goes to `problems`.
pub(super) fn leaves(path: &Path, schema: &Schema, problems: &mut Vec<Problem>) -> Vec<Leaf> {
    let origin = Origin::File(path.to_owned());
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            problems.push(Problem::unavailable(&origin, format!("cannot be read: {error}")));
            return Vec::new();
        }
    };
    match toml::from_str::<Table>(&text) {
        Ok(table) => {
            let mut reading = Reading { schema, origin, problems, leaves: Vec::new() };
            reading.table(table, &Key::default());
            reading.leaves
        }
        Err(error) => {
            // Only the message and the place: the library's own text shows the line, which may hold a secret.
            let offset = error.span().map_or(0, |span| span.start);
            let line = text.get(..offset).map_or(1, |before| before.matches('\n').count() + 1);
            problems.push(Problem::at(&origin, format!("line {line}: {}", error.message())));
            Vec::new()
        }
    }
}

struct Reading<'a> {
    schema: &'a Schema,
    origin: Origin,
    problems: &'a mut Vec<Problem>,
    leaves: Vec<Leaf>,
}

impl Reading<'_> {
    fn table(&mut self, table: Table, prefix: &Key) {
        for (part, value) in table {
            self.entry(prefix.child(&part), value);
        }
    }

    fn entry(&mut self, key: Key, value: Value) {
        match self.schema.slot(&key) {
            None => self.problem(unknown(self.schema, &key)),
            Some(Slot::Section) => {
                if let Value::Table(inner) = value {
                    self.table(inner, &key);
                } else {
                    self.problem(format!("{key} is a section, not a key"));
                }
            }
            Some(Slot::Upstreams) => self.upstreams(key, value),
            Some(Slot::Value(_) | Slot::Secret) => self.leaf(key, value),
            Some(Slot::SecretFile(secret)) => self.secret_file(secret, &value),
        }
    }

    fn secret_file(&mut self, secret: Key, value: &Value) {
        let Some(path) = value.as_str() else {
            return self.problem(format!("{secret}_file: must be the path of a file"));
        };
        match secret::read(Path::new(path), &secret, &self.origin) {
            Ok(text) => self.leaf(secret, Value::String(text)),
            Err(problem) => self.problems.push(problem),
        }
    }

    fn upstreams(&mut self, key: Key, value: Value) {
        let Value::Array(items) = value else {
            return self.problem(format!("{key}: must be written as [[{key}]] sections"));
        };
        let mut upstreams = Vec::new();
        for (place, item) in items.into_iter().enumerate() {
            let name = Key::dotted(&format!("{key}[{place}]"));
            if let Value::Table(table) = item {
                upstreams.extend(self.upstream(&name, table).map(Value::Table));
            } else {
                self.problem(format!("{}: must be a section", name.0.join(".")));
            }
        }
        self.leaf(key, Value::Array(upstreams));
    }

    /// One upstream with its secret in place; `None` if something is wrong with it.
    fn upstream(&mut self, name: &Key, mut table: Table) -> Option<Table> {
        let before = self.problems.len();
        let name = name.0.join(".");
        for part in table.keys().filter(|part| !UPSTREAM_KEYS.contains(&part.as_str())) {
            self.problems.push(Problem::at(&self.origin, format!("unknown key {name}.{part} (an upstream has name, base_url, api_key or api_key_file, model)")));
        }
        if let Some(path) = table.remove("api_key_file") {
            if table.contains_key("api_key") {
                self.problem(format!("both {name}.api_key and {name}.api_key_file are given"));
            }
            let key = Key::dotted(&format!("{name}.api_key"));
            match path.as_str().map(|path| secret::read(Path::new(path), &key, &self.origin)) {
                Some(Ok(text)) => drop(table.insert("api_key".into(), Value::String(text))),
                Some(Err(problem)) => self.problems.push(problem),
                None => self.problem(format!("{name}.api_key_file: must be the path of a file")),
            }
        }
        if let Some(wrong) = table.get("api_key").and_then(secret::wrong) {
            self.problem(format!("{name}.api_key: {wrong}"));
        }
        (self.problems.len() == before).then_some(table)
    }

    fn leaf(&mut self, key: Key, value: Value) {
        self.leaves.push(Leaf { key, value, origin: self.origin.clone() });
    }

    fn problem(&mut self, text: String) {
        self.problems.push(Problem::at(&self.origin, text));
    }
}
