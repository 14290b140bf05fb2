//! How the process ends: the reason, and the exit code of `sysexits.h` that tells it to whoever started us.

use std::process::ExitCode;

use crate::config::ConfigError;

/// Why the process did not end cleanly.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What was asked about is not well; `healthcheck` says so (1).
    #[error("{0}")]
    Unhealthy(String),
    /// The command line is wrong, and that was said already (64).
    #[error("the command line is wrong")]
    Flags,
    /// A port or a file is not available (69).
    #[error("{0}")]
    Unavailable(String),
    /// A bug, and that was said already (70).
    #[error("a bug ended the process")]
    Bug,
    /// The configuration, or a file it names, is wrong (78).
    #[error("{0}")]
    Configuration(String),
    /// A second signal ended it before it was done (128 + SIGTERM, as a shell would say it).
    #[error("asked twice to stop: ended at once")]
    Abandoned,
}

impl Failure {
    /// The process' exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Unhealthy(_) => 1,
            Self::Flags => 64,
            Self::Unavailable(_) => 69,
            Self::Bug => 70,
            Self::Configuration(_) => 78,
            Self::Abandoned => 143,
        }
    }

    /// Whether whoever started us was told already.
    pub fn is_said(&self) -> bool {
        matches!(self, Self::Flags | Self::Bug)
    }
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        Self::from(failure.code())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        if error.is_unavailable() {
            return Self::Unavailable(error.to_string());
        }
        Self::Configuration(error.to_string())
    }
}
