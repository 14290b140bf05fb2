//! Putting it all together: default < file < aliases < environment < flags.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;

use super::checks::{self, check};
use super::leaf::{Key, Leaf, Origin};
use super::problem::{ConfigError, Problem};
use super::schema::Schema;
use super::{Config, environment, file, relations};

/// A setting given on the command line.
#[derive(Clone)]
pub struct Flag {
    /// The flag's name, for messages: `--listen`, `--set`.
    pub name: &'static str,
    /// The key, as TOML writes it.
    pub key: String,
    /// The value, as in the environment.
    pub value: String,
}

/// Everything an operator may have said.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file of `--config`.
    pub file: Option<PathBuf>,
    /// The environment's variables.
    pub environment: Vec<(OsString, OsString)>,
    /// Flags; later ones win.
    pub flags: Vec<Flag>,
}

/// The settings in force, and where each that is not a default was given.
#[derive(Clone, Debug)]
pub struct Effective {
    /// The settings.
    pub config: Config,
    /// What is allowed, but probably not meant; one sentence each.
    pub warnings: Vec<String>,
    pub(super) origins: BTreeMap<Key, Origin>,
}

impl Sources {
    /// Reads all of them; every problem is reported at once.
    pub fn load(&self) -> Result<Effective, ConfigError> {
        let schema = Schema::new();
        let mut problems = Vec::new();
        let leaves = self.leaves(&schema, &mut problems);
        let bad = check_each(&leaves, &schema, &mut problems);

        let good = leaves.into_iter().filter(|leaf| !bad.contains(&leaf.key));
        let (table, origins) = applied(good, &schema);
        relations::incomplete_policies(&table, &origins, &bad, &mut problems);
        match checks::deserialize(table) {
            Ok(config) => {
                relations::check(&config, &origins, &bad, &mut problems);
                if problems.is_empty() {
                    let warnings = relations::warnings(&config);
                    return Ok(Effective { config, warnings, origins });
                }
            }
            // Beside what was found above nothing can be wrong here; if something is, it is said.
            Err((path, reason)) if problems.is_empty() => {
                problems.push(Problem::relation(format!("{path}: {reason}")));
            }
            Err(_) => {}
        }
        Err(ConfigError::new(problems))
    }

    /// What every source says, weakest first.
    fn leaves(&self, schema: &Schema, problems: &mut Vec<Problem>) -> Vec<Leaf> {
        let from_file = self.file.as_deref().map(|path| file::leaves(path, schema, problems));
        let [aliases, own] = environment::leaves(&self.environment, schema, problems);
        let layers = [from_file.unwrap_or_default(), aliases, own];
        for layer in &layers {
            given_twice(layer, problems);
        }
        let flags = self.flags.iter().filter_map(|flag| flag.leaf(schema, problems));
        layers.into_iter().flatten().chain(flags).collect()
    }
}

impl Flag {
    fn leaf(&self, schema: &Schema, problems: &mut Vec<Problem>) -> Option<Leaf> {
        let origin = Origin::Flag(self.name.to_owned());
        let result = match Key::parse(&self.key) {
            Some(key) => environment::leaf(key, &self.value, origin, schema),
            None => Err(Problem::at(&origin, "must be written key=value")),
        };
        result.map_err(|problem| problems.push(problem)).ok()
    }
}

/// One source that says two things of one key: the key and its `_file`, or two spellings of one variable.
fn given_twice(layer: &[Leaf], problems: &mut Vec<Problem>) {
    let mut seen: BTreeMap<&Key, &Origin> = BTreeMap::new();
    for leaf in layer {
        if let Some(first) = seen.insert(&leaf.key, &leaf.origin) {
            let key = &leaf.key;
            let text = if *first == leaf.origin {
                format!("{key} and {key}_file are both given")
            } else {
                format!("{key} is also given by {first}")
            };
            problems.push(Problem::at(&leaf.origin, text));
        }
    }
}

/// Checks every value alone; returns the keys that hold something wrong.
fn check_each(leaves: &[Leaf], schema: &Schema, problems: &mut Vec<Problem>) -> BTreeSet<Key> {
    let mut bad = BTreeSet::new();
    for leaf in leaves {
        if let Err(problem) = check(leaf, schema) {
            problems.push(problem);
            bad.insert(leaf.key.clone());
        }
    }
    bad
}

fn applied(leaves: impl Iterator<Item = Leaf>, schema: &Schema) -> (toml::Table, BTreeMap<Key, Origin>) {
    let mut table = schema.defaults().clone();
    let mut origins = BTreeMap::new();
    for leaf in leaves {
        leaf.key.insert(&mut table, leaf.value);
        origins.insert(leaf.key, leaf.origin);
    }
    (table, origins)
}
