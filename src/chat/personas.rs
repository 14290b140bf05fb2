//! Who can be asked.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::PersonaView;
use crate::words::PersonaId;

/// The personas that answer when no file is given.
const BUILT_IN: &str = include_str!("../../config/personas.toml");

/// A personas file is read whole; a larger one is not one.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// More personas than this make routing guess and metrics grow.
const MAX_PERSONAS: usize = 64;

/// What a persona sees of the conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Context {
    /// What everybody said.
    #[default]
    Shared,
    /// What the user and this persona said.
    Own,
}

/// A configured speaker.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Persona {
    /// What requests, mentions and metrics call it.
    pub id: PersonaId,
    /// What people read.
    pub name: String,
    /// What routing reads.
    pub description: String,
    /// Its instructions; never shown to a caller.
    pub system_prompt: String,
    /// The model it asks, if not the upstream's own.
    #[serde(default)]
    pub model: Option<String>,
    /// Sampling temperature, if not the model's own.
    #[serde(default)]
    pub temperature: Option<f32>,
    /// The longest answer, if not the model's own.
    #[serde(default)]
    pub max_tokens: Option<u32>,
    /// More names for mentions.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// What it sees.
    #[serde(default)]
    pub context: Context,
}

impl Persona {
    /// The persona as callers may see it.
    pub fn view(&self) -> PersonaView {
        PersonaView {
            id: self.id.clone(),
            name: self.name.clone(),
            description: self.description.clone(),
            aliases: self.aliases.clone(),
        }
    }
}

/// Why there are no personas: the operator's file is wrong.
#[derive(Debug, thiserror::Error)]
pub enum PersonasError {
    /// The file cannot be read.
    #[error("personas file {file}: cannot be read")]
    Unreadable {
        /// Which file.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A key of it is wrong.
    #[error("personas file {file}: {key}: {reason}")]
    Wrong {
        /// Which file.
        file: String,
        /// Which key.
        key: String,
        /// Why.
        reason: String,
    },
}

/// All personas, in the order of their file.
#[derive(Clone, Debug)]
pub struct Personas {
    all: Vec<Persona>,
    by_name: HashMap<String, usize>,
    default: usize,
    fingerprint: [u8; 32],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PersonasFile {
    personas: Vec<Persona>,
}

impl Personas {
    /// Reads the file, or the built-in one; `default` is who answers when routing cannot decide.
    pub fn load(file: Option<&Path>, default: Option<&str>) -> Result<Self, PersonasError> {
        let Some(path) = file else {
            return Self::parse("(built in)", BUILT_IN, Format::Toml, default);
        };
        let name = path.display().to_string();
        let text =
            read_bounded(path).map_err(|source| PersonasError::Unreadable { file: name.clone(), source })?;
        Self::parse(&name, &text, Format::of(path), default)
    }

    fn parse(file: &str, text: &str, format: Format, default: Option<&str>) -> Result<Self, PersonasError> {
        let wrong = |key: String, reason: String| PersonasError::Wrong { file: file.to_owned(), key, reason };
        let PersonasFile { personas: all } =
            format.parse(text).map_err(|(key, reason)| wrong(key, reason))?;
        if all.is_empty() || all.len() > MAX_PERSONAS {
            return Err(wrong("personas".into(), format!("must have 1 to {MAX_PERSONAS} entries")));
        }
        let by_name = index(&all).map_err(|(key, reason)| wrong(key, reason))?;
        let default = match default {
            None => 0,
            Some(id) => all.iter().position(|persona| persona.id.as_str() == id).ok_or_else(|| {
                wrong("personas.default".into(), "must be the id of one of the personas".into())
            })?,
        };
        Ok(Self { fingerprint: fingerprint(&all), all, by_name, default })
    }

    /// All of them.
    pub fn all(&self) -> &[Persona] {
        &self.all
    }

    /// The one with this id.
    pub fn find(&self, id: &PersonaId) -> Option<&Persona> {
        self.all.iter().find(|persona| persona.id == *id)
    }

    /// The one with this id, name or alias, whatever the case.
    pub fn named(&self, name: &str) -> Option<&Persona> {
        self.by_name.get(&name.to_lowercase()).and_then(|place| self.all.get(*place))
    }

    /// Who answers when routing cannot decide.
    pub fn default_persona(&self) -> &Persona {
        &self.all[self.default]
    }

    /// A hash over everything routing reads; a cached decision of other personas is none.
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }
}

/// Checks what the types cannot, and maps every name a mention may use to its persona.
fn index(all: &[Persona]) -> Result<HashMap<String, usize>, (String, String)> {
    let mut by_name = HashMap::new();
    for (place, persona) in all.iter().enumerate() {
        check(place, persona)?;
        let names = [persona.id.as_str(), persona.name.as_str()];
        let own: HashSet<_> = names
            .into_iter()
            .chain(persona.aliases.iter().map(String::as_str))
            .map(str::to_lowercase)
            .collect();
        for name in own {
            if by_name.insert(name, place).is_some() {
                let key = format!("personas[{place}]");
                return Err((key, "its id, name or an alias is another persona's too".into()));
            }
        }
    }
    Ok(by_name)
}

fn check(place: usize, persona: &Persona) -> Result<(), (String, String)> {
    let fault = |key: &str, reason: &str| Err((format!("personas[{place}].{key}"), reason.to_owned()));
    if persona.name.trim().is_empty() || persona.name.len() > 100 || persona.name.contains(char::is_control) {
        return fault("name", "must have 1 to 100 characters and no control characters");
    }
    if persona.description.trim().is_empty() || persona.description.len() > 1000 {
        return fault("description", "must have 1 to 1000 characters");
    }
    if persona.system_prompt.trim().is_empty() || persona.system_prompt.len() > 32_768 {
        return fault("system_prompt", "must have 1 to 32768 characters");
    }
    if persona.temperature.is_some_and(|t| !(0.0..=2.0).contains(&t)) {
        return fault("temperature", "must be from 0 to 2");
    }
    if persona.max_tokens == Some(0) {
        return fault("max_tokens", "must be above zero");
    }
    if persona.aliases.len() > 16 || persona.aliases.iter().any(|alias| !is_mentionable(alias)) {
        return fault("aliases", "must be at most 16 names of letters, digits, '_' and '-'");
    }
    Ok(())
}

/// Whether `@name` in a message can mean it.
fn is_mentionable(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
}

fn fingerprint(all: &[Persona]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for persona in all {
        for text in [persona.id.as_str(), &persona.name, &persona.description] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
    }
    hash.finalize().into()
}

fn read_bounded(path: &Path) -> Result<String, std::io::Error> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::other("larger than 1 MiB"));
    }
    Ok(text)
}

/// How a personas file is written.
#[derive(Clone, Copy)]
enum Format {
    Toml,
    Yaml,
}

impl Format {
    fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("yaml" | "yml" | "json") => Self::Yaml,
            _ => Self::Toml,
        }
    }

    /// Parses, or says which key is wrong and why.
    fn parse(self, text: &str) -> Result<PersonasFile, (String, String)> {
        match self {
            Self::Toml => {
                let syntax = |error: toml::de::Error| ("(file)".to_owned(), error.message().to_owned());
                let value: toml::Table = text.parse().map_err(syntax)?;
                serde_path_to_error::deserialize(value)
                    .map_err(|error| (error.path().to_string(), error.inner().message().to_owned()))
            }
            Self::Yaml => {
                // Through a JSON value, so that both formats name the wrong key the same way.
                let value: serde_json::Value = serde_saphyr::from_str(text)
                    .map_err(|error| ("(file)".to_owned(), first_line(&error)))?;
                serde_path_to_error::deserialize(value)
                    .map_err(|error| (error.path().to_string(), error.inner().to_string()))
            }
        }
    }
}

fn first_line(error: &dyn std::error::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(text: &str, format: Format) -> String {
        Personas::parse("people", text, format, None).unwrap_err().to_string()
    }

    #[test]
    fn three_personas_are_built_in_and_the_first_is_the_default() {
        let personas = Personas::load(None, None).unwrap();
        let ids: Vec<_> = personas.all().iter().map(|persona| persona.id.as_str()).collect();
        assert_eq!(ids, ["guide", "skeptic", "historian"]);
        assert_eq!(personas.default_persona().id.as_str(), "guide");
        assert_eq!(personas.named("CRITIC").unwrap().id.as_str(), "skeptic");
    }

    #[test]
    fn a_wrong_file_is_refused_with_file_key_and_reason() {
        let missing = "[[personas]]\nid='a'\nname='A'\ndescription='d'\n";
        assert_eq!(
            error_of(missing, Format::Toml),
            "personas file people: personas[0]: missing field `system_prompt`"
        );
        let unknown = "personas:\n- {id: a, name: A, description: d, system_prompt: s, colour: red}\n";
        assert!(
            error_of(unknown, Format::Yaml)
                .starts_with("personas file people: personas[0].colour: unknown field")
        );
        let hot = "personas:\n- {id: a, name: A, description: d, system_prompt: s, temperature: 3}\n";
        assert_eq!(
            error_of(hot, Format::Yaml),
            "personas file people: personas[0].temperature: must be from 0 to 2"
        );
        assert!(error_of("personas = []", Format::Toml).contains("must have 1 to 64 entries"));
    }

    #[test]
    fn two_personas_cannot_share_a_name() {
        let text = "personas:\n- {id: a, name: A, description: d, system_prompt: s}\n- {id: b, name: B, description: d, system_prompt: s, aliases: [A]}\n";
        assert!(error_of(text, Format::Yaml).contains("personas[1]"));
    }

    #[test]
    fn fuzz_persona_files() {
        crate::fuzz::run("persona_files", |bytes| {
            let text = String::from_utf8_lossy(bytes);
            for format in [Format::Toml, Format::Yaml] {
                if let Ok(personas) = Personas::parse("file", &text, format, None) {
                    let all = personas.all();
                    assert!((1..=MAX_PERSONAS).contains(&all.len()));
                    assert!(
                        all.iter().all(|it| personas.named(&it.name).is_some_and(|found| found.id == it.id))
                    );
                }
            }
        });
    }
}
