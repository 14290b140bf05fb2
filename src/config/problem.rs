//! What is wrong with a configuration: everything at once, never a secret.

use std::fmt;

use super::leaf::Origin;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Problem {
    text: String,
    /// Whether a file could not be read, as opposed to holding something wrong.
    unavailable: bool,
}

impl Problem {
    /// Something wrong that was said at `origin`.
    pub fn at(origin: &Origin, text: impl fmt::Display) -> Self {
        Self { text: format!("{origin}: {text}"), unavailable: false }
    }

    /// A file named at `origin` that cannot be read.
    pub fn unavailable(origin: &Origin, text: impl fmt::Display) -> Self {
        Self { unavailable: true, ..Self::at(origin, text) }
    }

    /// Values that do not fit together.
    pub fn relation(text: String) -> Self {
        Self { text, unavailable: false }
    }
}

/// Every problem of a configuration, one per line, sorted.
#[derive(Clone, Debug, thiserror::Error)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort();
        problems.dedup();
        Self { problems }
    }

    /// Whether nothing is wrong but files that cannot be read.
    pub fn is_unavailable(&self) -> bool {
        self.problems.iter().all(|problem| problem.unavailable)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, problem) in self.problems.iter().enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&problem.text)?;
        }
        Ok(())
    }
}
