//! What can go wrong on the way to Redis, by what a caller does about it.

use std::time::Duration;

use ::redis::{ErrorKind, ServerErrorKind};

use crate::resilience::Rejected;

/// Codes of Redis' own errors that mean: not now. `ServerErrorKind` knows the others.
const NOT_NOW: [&str; 8] =
    ["OOM", "BUSY", "READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS", "MISCONF"];

/// Why a call was not answered as it should have been.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// Redis failed several times of late, so it was not asked.
    #[error(transparent)]
    Open(Rejected),
    /// No answer came in time; it may have been carried out.
    #[error("redis did not answer within {0:?}")]
    Slow(Duration),
    /// Redis cannot be reached, or cannot serve now; it may have been carried out.
    #[error("redis cannot serve now")]
    Fault(#[source] ::redis::RedisError),
    /// Redis understood and refused, or we did not understand: a bug or a wrong setting, not an outage.
    #[error("redis refused the command")]
    Refused(#[source] ::redis::RedisError),
}

impl RedisError {
    /// Whether Redis is at fault, so that the breaker counts it.
    pub fn is_fault(&self) -> bool {
        matches!(self, Self::Slow(_) | Self::Fault(_))
    }

    /// Whether the call may be carried out all the same, or may have been.
    pub fn leaves_doubt(&self) -> bool {
        match self {
            Self::Slow(_) => true,
            Self::Fault(error) => error.is_io_error(),
            Self::Open(_) | Self::Refused(_) => false,
        }
    }

    pub(super) fn unreadable(error: impl Into<::redis::RedisError>) -> Self {
        Self::Refused(error.into())
    }

    /// Whether another connection may do better.
    pub(super) fn is_of_connection(&self) -> bool {
        let Self::Fault(error) = self else { return false };
        let demoted = matches!(
            error.kind(),
            ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
        );
        demoted || error.is_io_error() || error.kind() == ErrorKind::ClusterConnectionNotFound
    }

    pub(super) fn is_unknown_script(&self) -> bool {
        let Self::Refused(error) = self else { return false };
        error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
    }
}

impl From<::redis::RedisError> for RedisError {
    fn from(error: ::redis::RedisError) -> Self {
        let lost = matches!(
            error.kind(),
            ErrorKind::Io
                | ErrorKind::ClusterConnectionNotFound
                | ErrorKind::MasterNameNotFoundBySentinel
                | ErrorKind::NoValidReplicasFoundBySentinel
                | ErrorKind::AuthenticationFailed
                | ErrorKind::Server(
                    ServerErrorKind::BusyLoading
                        | ServerErrorKind::TryAgain
                        | ServerErrorKind::ClusterDown
                        | ServerErrorKind::MasterDown
                        | ServerErrorKind::ReadOnly
                )
        );
        // Before Redis 7 the error of a command in a script is told in the script's own.
        let told = |text: &str| NOT_NOW.iter().any(|code| text.contains(&format!("-{code} ")));
        let not_now =
            error.code().is_some_and(|code| NOT_NOW.contains(&code)) || error.detail().is_some_and(told);
        if lost || not_now { Self::Fault(error) } else { Self::Refused(error) }
    }
}

/// Redis can never be reached like this.
#[derive(Debug, thiserror::Error)]
pub enum WrongRedis {
    /// The settings cannot be meant.
    #[error("redis {0}")]
    Settings(&'static str),
    /// A file of certificates or keys cannot be read.
    #[error("{0}")]
    File(String),
    /// The client refuses to be made like this.
    #[error("redis cannot be used like this")]
    Client(#[source] ::redis::RedisError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> RedisError {
        let (code, detail) = line.split_once(' ').unwrap();
        ::redis::make_extension_error(code.to_owned(), Some(detail.to_owned())).into()
    }

    #[test]
    fn what_passes_is_a_fault_and_what_is_wrong_is_not() {
        for line in [
            "OOM command not allowed when used memory > 'maxmemory'.",
            "BUSY Redis is busy running a script.",
            "MISCONF Redis is configured to save RDB snapshots",
            "ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write against a read only replica.",
        ] {
            assert!(told(line).is_fault(), "{line}");
        }
        for line in ["WRONGTYPE Operation against a key", "ERR unknown command", "NOPERM no permission"] {
            assert!(!told(line).is_fault(), "{line}");
        }
        let broken: RedisError = ::redis::RedisError::from(std::io::Error::other("broken")).into();
        assert!(broken.is_fault() && broken.is_of_connection());
    }
}
