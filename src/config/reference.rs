//! `docs/configuration.md`: the default file as a table.

use std::fmt::Write as _;

use toml::{Table, Value};

use super::DEFAULT_TOML;
use super::aliases::{ALIASES, Alias, Reading};
use super::environment::variable;
use super::leaf::Key;

const INTRODUCTION: &str = "\
# Configuration

Made by `polylogue config --reference` from `config/default.toml`; do not edit.

Later wins: the defaults below < the file given by `--config` < the environment < flags (`--set key=value`).
`polylogue config` prints what is in force and where it came from; `polylogue check-config` checks without starting.
Durations are written `250ms`, `30s`, `15m`, `1h`; sizes `512KiB`, `4MiB`; an empty text means none; in the
environment a list is comma-separated. Unknown keys are errors.
";

const SECRETS: &str = "
## Secrets

`redis.url`, `llm.api_key`, `tracing.headers` and an upstream's `api_key` are never printed. Each may instead be given as the path of a file
that holds it: `redis.url_file`, `llm.api_key_file` (`POLYLOGUE__REDIS__URL_FILE`, `POLYLOGUE__LLM__API_KEY_FILE`), and
`api_key_file` in `[[llm.upstreams]]`. A source that gives both is refused.
";

const OTHER_NAMES: &str = "
## Other names in the environment

Weaker than the names above. A plain number is a number of seconds where the key is a duration; an empty one is not
given. Of the `OTEL_*` variables those that are not listed are left alone; a plain number of theirs is a number of
milliseconds, as OpenTelemetry has it, and one for traces alone wins over the one for all signals.

| variable | key |
|---|---|
";

/// The reference of every key: default, variable, meaning.
pub fn reference_markdown() -> String {
    let mut out = INTRODUCTION.to_owned();
    // Writing to a String cannot fail.
    for section in DEFAULT_TOML.split("\n[").skip(1) {
        let (name, body) = section.split_once("]\n").unwrap_or((section, ""));
        let _ =
            write!(out, "\n## `{name}`\n\n| key | default | environment | meaning |\n|---|---|---|---|\n");
        for group in groups(body) {
            out.push_str(&group.row(&Key::dotted(name)));
        }
    }
    out.push_str(SECRETS);
    out.push_str(OTHER_NAMES);
    for Alias { name, key, reading } in ALIASES {
        let turned = if *reading == Reading::Opposite { ", the other way round" } else { "" };
        let _ = writeln!(out, "| `{name}` | `{key}`{turned} |");
    }
    out
}

/// Keys that one comment explains.
#[derive(Default)]
struct Group<'a> {
    comment: Vec<&'a str>,
    lines: Vec<&'a str>,
}

/// A comment, and the keys up to the next comment.
fn groups(body: &str) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for line in body.lines().filter(|line| !line.is_empty()) {
        let comment = line.strip_prefix('#').map(str::trim);
        let begins = groups.last().is_none_or(|group| comment.is_some() && !group.lines.is_empty());
        if begins {
            groups.push(Group::default());
        }
        let Some(group) = groups.last_mut() else { continue };
        match comment {
            Some(text) => group.comment.push(text),
            None => group.lines.push(line),
        }
    }
    groups
}

impl Group<'_> {
    fn row(&self, section: &Key) -> String {
        let (mut keys, mut defaults, mut variables) = (Vec::new(), Vec::new(), Vec::new());
        for (key, value) in self.lines.iter().flat_map(|line| settings(line, section)) {
            keys.push(format!("`{key}`"));
            defaults.push(format!("`{value}`"));
            let in_file_only = value.is_table() || key == Key::dotted("llm.upstreams");
            variables.push(if in_file_only { "–".to_owned() } else { format!("`{}`", variable(&key)) });
        }
        let columns = [keys.join("<br>"), defaults.join("<br>"), variables.join("<br>"), self.meaning()];
        format!("| {} |\n", columns.join(" | "))
    }

    fn meaning(&self) -> String {
        let mut text = String::new();
        for line in &self.comment {
            let example = line.starts_with("[[") || line.contains(" = \"");
            let (before, line) = if example && !line.contains(". ") {
                ("<br>", format!("`{line}`"))
            } else {
                (" ", (*line).to_owned())
            };
            text.push_str(if text.is_empty() { "" } else { before });
            text.push_str(&line);
        }
        text
    }
}

/// The settings of one line; an inline section is one setting per key.
fn settings(line: &str, section: &Key) -> Vec<(Key, Value)> {
    let table: Table = toml::from_str(line).unwrap_or_default();
    let mut settings = Vec::new();
    for (name, value) in table {
        let key = section.child(&name);
        match value.as_table().filter(|inner| !inner.is_empty()) {
            Some(inner) => {
                settings.extend(inner.iter().map(|(name, value)| (key.child(name), value.clone())));
            }
            None => settings.push((key, value)),
        }
    }
    settings
}
