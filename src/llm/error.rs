//! Why a model did not answer.

use std::time::Duration;

use crate::telemetry::metrics::ModelOutcome;
use crate::words::{ErrorCode, Failure};

/// The source of an error, for the log only.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// When a caller should come back to a model that did not say so itself: every 503 says something.
const SOON: Duration = Duration::from_secs(1);

/// Why a model did not answer; variants are what a caller treats differently.
#[derive(Debug, thiserror::Error)]
pub enum LlmError {
    /// Nothing came in time.
    #[error("the model took longer than {0:?}")]
    Slow(Duration),
    /// The upstream said 429.
    #[error("the model asked us to wait")]
    Throttled {
        /// For how long, where it said.
        retry_after: Option<Duration>,
    },
    /// Every upstream's circuit is open.
    #[error("the circuit is open")]
    Open {
        /// When the next probe is due.
        retry_after: Duration,
    },
    /// The upstream said 400, 401, 403, 404…: our configuration or request is wrong.
    #[error("the model refused the request with status {status}")]
    Refused {
        /// The upstream's status.
        status: u16,
    },
    /// The upstream said 5xx.
    #[error("the model failed with status {status}")]
    Failed {
        /// The upstream's status.
        status: u16,
        /// When it said to come back.
        retry_after: Option<Duration>,
    },
    /// No connection, or it broke.
    #[error("the connection to the model failed")]
    Broken(#[source] BoxError),
    /// The stream ended without a finish reason.
    #[error("the model's answer was cut off")]
    Cut,
    /// What came is not an answer, or larger than one may be.
    #[error("the model's answer could not be read: {0}")]
    Garbled(&'static str),
}

impl LlmError {
    /// What an upstream's status above 299 means.
    pub(super) fn from_status(status: u16, retry_after: Option<Duration>) -> Self {
        match status {
            429 => Self::Throttled { retry_after },
            500.. => Self::Failed { status, retry_after },
            // Redirections are not followed, so that a key goes nowhere else: they are wrong configuration too.
            ..500 => Self::Refused { status },
        }
    }

    /// Whether the fault is the upstream's, so that its breaker counts it: never a 4xx or 429.
    pub fn is_fault(&self) -> bool {
        match self {
            Self::Slow(_) | Self::Failed { .. } | Self::Broken(_) | Self::Cut | Self::Garbled(_) => true,
            Self::Throttled { .. } | Self::Open { .. } | Self::Refused { .. } => false,
        }
    }

    /// Whether asking again may help, as long as no token has come.
    pub fn is_worth_another_attempt(&self) -> bool {
        self.is_fault() || matches!(self, Self::Throttled { .. })
    }

    /// When the upstream said to come back.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after } | Self::Failed { retry_after, .. } => *retry_after,
            Self::Open { retry_after } => Some(*retry_after),
            Self::Slow(_) | Self::Refused { .. } | Self::Broken(_) | Self::Cut | Self::Garbled(_) => None,
        }
    }

    /// What a client may be told. The upstream's own 429 is our 503, because 429 means "you"; its 400, 401 and 404 are
    /// our wrong configuration, and a cut or unreadable answer is a failed one: 502. No connection and 5xx pass: 503.
    pub fn failure(&self) -> Failure {
        let wait = self.retry_after().unwrap_or(SOON);
        match self {
            Self::Slow(_) => Failure::new(ErrorCode::ModelTimeout, "The model did not answer in time."),
            Self::Throttled { .. } => {
                Failure::new(ErrorCode::ModelUnavailable, "The model has too much to do.").retry_after(wait)
            }
            Self::Open { .. } => Failure::new(
                ErrorCode::ModelUnavailable,
                "The model failed repeatedly and is being left alone.",
            )
            .retry_after(wait),
            Self::Failed { .. } | Self::Broken(_) => {
                Failure::new(ErrorCode::ModelUnavailable, "The model cannot be reached.").retry_after(wait)
            }
            Self::Refused { .. } => {
                Failure::new(ErrorCode::ModelFailed, "The model did not accept what the server asked.")
            }
            Self::Cut => Failure::new(ErrorCode::ModelFailed, "The model's answer broke off."),
            Self::Garbled(_) => Failure::new(ErrorCode::ModelFailed, "The model's answer could not be read."),
        }
    }
}

impl From<&LlmError> for ModelOutcome {
    fn from(error: &LlmError) -> Self {
        match error {
            LlmError::Slow(_) => Self::Timeout,
            LlmError::Throttled { .. } => Self::Throttled,
            LlmError::Open { .. } => Self::Open,
            LlmError::Refused { .. } => Self::Refused,
            LlmError::Failed { .. } | LlmError::Broken(_) | LlmError::Cut | LlmError::Garbled(_) => {
                Self::Broken
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_one_of_three_things_and_a_503_says_when_to_come_back() {
        let hour = Some(Duration::from_secs(3600));
        let told = [
            (LlmError::Slow(SOON), 504, None),
            (LlmError::Throttled { retry_after: None }, 503, Some(SOON)),
            (LlmError::Throttled { retry_after: hour }, 503, hour),
            (LlmError::Open { retry_after: SOON }, 503, Some(SOON)),
            (LlmError::Failed { status: 500, retry_after: None }, 503, Some(SOON)),
            (LlmError::Broken("refused".into()), 503, Some(SOON)),
            (LlmError::Refused { status: 401 }, 502, None),
            (LlmError::Cut, 502, None),
            (LlmError::Garbled("no"), 502, None),
        ];
        for (error, status, wait) in told {
            let failure = error.failure();
            assert_eq!((failure.code.status(), failure.retry_after), (status, wait), "{error}");
        }
    }
}
