//! Secrets that are kept in files.

use std::io::Read as _;
use std::path::Path;

use super::leaf::{Key, Origin};
use super::problem::Problem;

/// No key or address is longer; a path to something huge is a mistake.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// What stands in the place of a secret when the configuration is shown.
pub(super) const HIDDEN: &str = "(hidden)";

/// Reads the secret of `key` from `path`, without the white space around it.
pub(super) fn read(path: &Path, key: &Key, origin: &Origin) -> Result<String, Problem> {
    let unreadable = |reason: &dyn std::fmt::Display| {
        Problem::unavailable(origin, format!("{key}_file: cannot read {}: {reason}", path.display()))
    };
    let file = std::fs::File::open(path).map_err(|error| unreadable(&error))?;
    let mut bytes = Vec::new();
    file.take(MAX_SECRET_BYTES + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    let text = text.trim();
    if text.is_empty() || text.len() as u64 > MAX_SECRET_BYTES {
        let wrong = format!("{key}_file: {} does not hold one secret in UTF-8", path.display());
        return Err(Problem::at(origin, wrong));
    }
    Ok(text.to_owned())
}

/// Says what is wrong with a secret, without saying it.
pub(super) fn wrong(value: &toml::Value) -> Option<&'static str> {
    match value.as_str() {
        None => Some("must be a text"),
        Some(HIDDEN) => Some("holds the placeholder that `polylogue config` prints, not the secret"),
        Some(text) if !text.bytes().all(|b| b.is_ascii_graphic()) => {
            Some("must be visible ASCII characters without white space")
        }
        Some(_) => None,
    }
}
