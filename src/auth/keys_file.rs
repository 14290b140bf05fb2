//! The file of API keys: who has one, until when, and for what. Holds no key, only digests.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::{Denied, Digest, Grant, Proof};
use crate::words::{CallerName, PersonaId, Principal, Timestamp};

/// The largest file, and the most entries: about ten times what a large installation has.
const MAX_BYTES: u64 = 4 << 20;
const MAX_KEYS: usize = 10_000;

/// What is wrong with the file. Never says what stands in it, except names.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It cannot be read.
    #[error("auth.keys_file {file}: cannot be read")]
    Unreadable {
        /// Which file.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It says something that is not understood.
    #[error("auth.keys_file {file}: {key}: {reason}")]
    Wrong {
        /// Which file.
        file: String,
        /// Which key of it.
        key: String,
        /// Why.
        reason: String,
    },
}

/// One entry. Several may have one name: that is how a key is replaced without a gap.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    /// Who has the key; the principal.
    pub name: CallerName,
    /// The key's SHA-256.
    pub sha256: Digest,
    /// When it is worth nothing any more; never, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Which personas may answer; all, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personas: Option<BTreeSet<PersonaId>>,
    /// Which limit policies count its requests in place of `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    keys: Vec<KeyEntry>,
}

/// The keys in force.
#[derive(Debug, Default)]
pub(super) struct KeyTable(HashMap<Digest, Arc<Grant>>);

impl KeyTable {
    /// Understands the content of `file`; `policies` are the names of the limit policies there are.
    pub fn parse(file: &Path, content: &[u8], policies: &[&str]) -> Result<Self, KeysError> {
        let wrong = |(key, reason)| KeysError::Wrong { file: file.display().to_string(), key, reason };
        let Document { keys } = document(file, content).map_err(wrong)?;
        if keys.len() > MAX_KEYS {
            return Err(wrong(("keys".to_owned(), format!("must have at most {MAX_KEYS} entries"))));
        }
        let mut table = HashMap::with_capacity(keys.len());
        for (place, entry) in keys.into_iter().enumerate() {
            let fault = |key: &str, reason: String| wrong((format!("keys[{place}].{key}"), reason));
            if let Some(unknown) = entry.unknown_policy(policies) {
                return Err(fault("policies", format!("there is no limits.policies.{unknown}")));
            }
            if table.insert(entry.sha256, Arc::new(entry.into())).is_some() {
                return Err(fault("sha256", "another entry has the same".to_owned()));
            }
        }
        Ok(Self(table))
    }

    /// What the key with this digest is worth.
    ///
    /// Finding the place by a hash tells an attacker nothing: what is compared is the SHA-256 of a guess, which nobody can
    /// steer towards a digest. What was found is still compared in constant time.
    pub fn admit(&self, digest: &Digest, now: Timestamp) -> Result<Grant, Denied> {
        let (known, grant) = self.0.get_key_value(digest).ok_or(Denied::Unknown)?;
        if !bool::from(known.as_bytes().ct_eq(digest.as_bytes())) {
            return Err(Denied::Unknown);
        }
        match grant.expires_in(now) {
            Some(left) if left.is_zero() => Err(Denied::Expired),
            Some(_) | None => Ok(Grant::clone(grant)),
        }
    }

    pub fn knows(&self, digest: &Digest) -> bool {
        self.0.contains_key(digest)
    }
}

impl KeyEntry {
    fn unknown_policy(&self, known: &[&str]) -> Option<&str> {
        let policies = self.policies.iter().flatten();
        policies.map(String::as_str).find(|policy| !known.contains(policy))
    }
}

impl From<KeyEntry> for Grant {
    fn from(entry: KeyEntry) -> Self {
        Self {
            principal: Principal::Key(entry.name),
            personas: entry.personas.map(Arc::new),
            policies: entry.policies.map(Into::into),
            expires_at: entry.expires_at,
            proof: Proof::Key(entry.sha256),
        }
    }
}

/// Reads the file, but not more than it may have. Blocks.
pub(super) fn read(file: &Path) -> Result<Arc<[u8]>, KeysError> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(file)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_BYTES {
            Err(io::ErrorKind::FileTooLarge.into())
        } else {
            Ok(bytes.into())
        }
    };
    read().map_err(|source| KeysError::Unreadable { file: file.display().to_string(), source })
}

/// YAML by its ending, otherwise TOML; or which key is wrong and why.
fn document(file: &Path, content: &[u8]) -> Result<Document, (String, String)> {
    let whole = |reason: String| ("the file".to_owned(), reason);
    let text = std::str::from_utf8(content).map_err(|_| whole("must be UTF-8".to_owned()))?;
    let is_yaml = file.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
    let value: serde_json::Value = if is_yaml {
        serde_saphyr::from_str(text).map_err(|_| whole("is not YAML".to_owned()))?
    } else {
        toml::from_str(text).map_err(|error| whole(format!("is not TOML: {}", error.message().trim_end())))?
    };
    serde_path_to_error::deserialize(value).map_err(|error| {
        let (path, reason) = (error.path().to_string(), error.inner().to_string());
        (if path.len() <= LONGEST_SHOWN { path } else { "keys".to_owned() }, without_values(reason))
    })
}

/// The longest key of a file that is repeated: as long as `keys[9999].expires_at` with a slip. What is longer is none of ours,
/// and may be a secret in the wrong place.
const LONGEST_SHOWN: usize = 24;

/// serde's own messages repeat what they found, which may be a secret in the wrong place.
fn without_values(reason: String) -> String {
    let Some((found, must)) = reason.rsplit_once(", expected ") else { return reason };
    match found.strip_prefix("unknown field ") {
        Some(name) if name.len() <= LONGEST_SHOWN => reason,
        Some(_) => format!("unknown field, expected {must}"),
        None => format!("must be {must}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_in_the_place_of_a_name_is_not_repeated() {
        let misplaced = "808ac32de910b63f9a66b0183591ecd89f3d3f75d57kes = []";
        let error =
            KeyTable::parse(Path::new("keys.toml"), misplaced.as_bytes(), &[]).unwrap_err().to_string();
        assert_eq!(error, "auth.keys_file keys.toml: keys: unknown field, expected `keys`");
        let slip = KeyTable::parse(Path::new("keys.toml"), b"kes = []", &[]).unwrap_err().to_string();
        assert!(slip.contains("unknown field `kes`"), "{slip}");
    }

    #[test]
    fn fuzz_key_files() {
        crate::fuzz::run("key_files", |bytes| {
            for file in ["keys.toml", "keys.yaml"] {
                if let Err(error) = KeyTable::parse(Path::new(file), bytes, &["default"]) {
                    assert!(!error.to_string().contains("808ac32de910b63f9a66b0183591ecd89f3d3f"), "{error}");
                }
            }
        });
    }
}
