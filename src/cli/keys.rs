//! `polylogue keys`.

use std::collections::BTreeSet;

use clap::Args;

use super::{Task, print};
use crate::auth::{ApiKey, KeyEntry};
use crate::config::Span;
use crate::exit::Failure;
use crate::words::{CallerName, PersonaId, Timestamp};

/// What a new key shall be.
#[derive(Clone, Args)]
pub(super) struct NewKey {
    /// Who gets it: the principal. A second key of the same name lets its owner change over without a gap.
    #[arg(value_parser = name)]
    name: CallerName,
    /// How long it is good for, such as 90d; for ever, if absent.
    #[arg(long, value_name = "DURATION", value_parser = span)]
    expires_in: Option<Span>,
    /// A persona that may be asked; may be given again. All, if absent.
    #[arg(long, value_name = "ID", value_parser = persona)]
    persona: Vec<PersonaId>,
    /// A limit policy that counts its requests in place of "default"; may be given again.
    #[arg(long, value_name = "NAME")]
    policy: Vec<String>,
}

impl NewKey {
    /// Makes the key. The text is TOML throughout, so that all of it may go into the file.
    pub fn print(self) -> Result<Task, Failure> {
        let key =
            ApiKey::random().map_err(|error| Failure::Unavailable(format!("random numbers: {error}")))?;
        let entry = self.entry(&key);
        let lines = toml::to_string(&entry).map_err(|_| Failure::Bug)?;
        print::text(&format!(
            "# The key. It is shown this once and kept nowhere: give it to its owner and remove these two lines.\n\
             # {}\n\n[[keys]]\n{lines}",
            key.reveal()
        ))
    }

    fn entry(self, key: &ApiKey) -> KeyEntry {
        let personas: BTreeSet<_> = self.persona.into_iter().collect();
        KeyEntry {
            name: self.name,
            sha256: key.digest(),
            expires_at: self.expires_in.map(|span| {
                let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
                Timestamp::from_millis(Timestamp::now().as_millis().saturating_add(span))
            }),
            personas: (!personas.is_empty()).then_some(personas),
            policies: (!self.policy.is_empty()).then_some(self.policy),
        }
    }
}

fn name(text: &str) -> Result<CallerName, String> {
    text.parse().map_err(|invalid: crate::words::Invalid| invalid.to_string())
}

fn persona(text: &str) -> Result<PersonaId, String> {
    text.parse().map_err(|invalid: crate::words::Invalid| invalid.to_string())
}

fn span(text: &str) -> Result<Span, String> {
    humantime::parse_duration(text).map(Span).map_err(|_| "must be a duration such as 90d".to_owned())
}
