//! Which keys exist: those of the default file, plus the open maps, the upstreams and the files of secrets.

use toml::{Table, Value};

use super::DEFAULT_TOML;
use super::leaf::Key;

/// Keys whose value is never shown. `llm.upstreams[].api_key` is the other one.
const SECRETS: [&str; 6] = [
    "server.management_token",
    "redis.url",
    "redis.password",
    "redis.sentinel_password",
    "llm.api_key",
    "tracing.headers",
];

/// Below this likeness (0 to 1) a suggestion would confuse more than it helps.
const LIKE_ENOUGH: f64 = 0.6;

/// What may stand at a key.
pub(super) enum Slot<'a> {
    /// More keys.
    Section,
    /// A value of the same type as this default.
    Value(&'a Value),
    /// A text that is never shown.
    Secret,
    /// The path of a file that holds the secret of this other key.
    SecretFile(Key),
    /// The array of upstreams.
    Upstreams,
}

/// The default file, as the list of keys and types.
pub(super) struct Schema {
    defaults: Table,
}

impl Schema {
    #[expect(clippy::expect_used, reason = "the embedded file is part of the program; a test parses it")]
    pub fn new() -> Self {
        Self { defaults: toml::from_str(DEFAULT_TOML).expect("the embedded default configuration parses") }
    }

    /// The defaults, for applying values on top.
    pub fn defaults(&self) -> &Table {
        &self.defaults
    }

    /// What may stand at `key`; `None` if there is no such key.
    pub fn slot(&self, key: &Key) -> Option<Slot<'_>> {
        match key.parts()[..] {
            ["llm", "upstreams"] => Some(Slot::Upstreams),
            ["limits", "routes", _] => {
                Key::dotted("server.trusted_proxies").find(&self.defaults).map(Slot::Value)
            }
            ["limits", "policies", _] => Some(Slot::Section),
            ["limits", "policies", _, part] => {
                Key::dotted("limits.policies.default").child(part).find(&self.defaults).map(Slot::Value)
            }
            _ => self.plain_slot(key),
        }
    }

    fn plain_slot(&self, key: &Key) -> Option<Slot<'_>> {
        let name = key.to_string();
        if SECRETS.contains(&name.as_str()) {
            return Some(Slot::Secret);
        }
        if let Some(secret) = name.strip_suffix("_file").filter(|secret| SECRETS.contains(secret)) {
            return Some(Slot::SecretFile(Key::dotted(secret)));
        }
        let value = key.find(&self.defaults)?;
        Some(if value.is_table() { Slot::Section } else { Slot::Value(value) })
    }

    /// The existing key most like `key`, if any is like it.
    pub fn suggestion(&self, key: &Key) -> Option<String> {
        if let ["limits", "policies", policy, part] = key.parts()[..]
            && policy != "default"
        {
            let like = self.suggestion(&Key::dotted("limits.policies.default").child(part))?;
            return Some(like.replace(".default.", &format!(".{policy}.")));
        }
        let wanted = key.to_string();
        let mut names = Vec::new();
        collect_names(&self.defaults, &Key::default(), &mut names);
        names.extend(SECRETS.iter().map(|secret| format!("{secret}_file")));
        let rated = names.into_iter().map(|name| (likeness(&wanted, &name), name));
        let (score, name) = rated.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
        (score >= LIKE_ENOUGH).then_some(name)
    }
}

/// How alike two keys are; the right name in a wrong section counts as rather alike.
fn likeness(wanted: &str, name: &str) -> f64 {
    let last = |key: &str| key.rsplit('.').next().map(str::to_owned);
    let same_name = if last(wanted) == last(name) { 0.2 } else { 0.0 };
    strsim::normalized_damerau_levenshtein(wanted, name) + same_name
}

fn collect_names(table: &Table, prefix: &Key, names: &mut Vec<String>) {
    for (part, value) in table {
        let key = prefix.child(part);
        names.push(key.to_string());
        if let Value::Table(inner) = value {
            collect_names(inner, &key, names);
        }
    }
}

/// `unknown key X (did you mean Y?)`
pub(super) fn unknown(schema: &Schema, key: &Key) -> String {
    match schema.suggestion(key) {
        Some(name) => format!("unknown key {key} (did you mean {name}?)"),
        None => format!("unknown key {key}"),
    }
}
