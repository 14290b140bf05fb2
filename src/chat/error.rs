//! Why the chat service says no.

use std::time::Duration;

use crate::memory::MemoryUnavailable;
use crate::turnlog::{LogUnavailable, Overloaded, ReadError};
use crate::words::{ErrorCode, Failure, TurnId};

/// The source of an error, for the log only.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why the chat service says no; what a caller may be told is [`ChatError::failure`].
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// These personas were asked for and do not exist; the places in the caller's list.
    #[error("personas at {0:?} are not known")]
    UnknownPersonas(Vec<usize>),
    /// None of the personas that exist may be asked by this caller.
    #[error("the caller may ask none of the personas")]
    NoPersonaAllowed,
    /// The message mentions or the caller lists more personas than a turn may have.
    #[error("at most {0} personas may answer")]
    TooManyPersonas(usize),
    /// The conversation is answering another message.
    #[error("turn {0} is running")]
    TurnInProgress(TurnId),
    /// The key was used with another body.
    #[error("the idempotency key was used with another body")]
    IdempotencyKeyReused,
    /// No such turn.
    #[error("the turn is not known")]
    TurnNotFound,
    /// No such conversation.
    #[error("the conversation is not known")]
    ConversationNotFound,
    /// No such persona.
    #[error("the persona is not known")]
    PersonaNotFound,
    /// A resume position that turn never had.
    #[error("the event is not known")]
    EventUnknown(TurnId),
    /// The replica is stopping.
    #[error("the replica is stopping")]
    Draining,
    /// The replica has all the turns it can take.
    #[error("the replica is full")]
    Overloaded,
    /// What is needed cannot be read or written now.
    #[error("the state is not available")]
    StateUnavailable(#[source] BoxError),
    /// Our fault.
    #[error("internal error")]
    Internal(#[source] BoxError),
}

impl ChatError {
    /// What reading this turn came to.
    pub(super) fn reading(turn: TurnId) -> impl FnOnce(ReadError) -> Self {
        move |error| match error {
            ReadError::TurnUnknown => Self::TurnNotFound,
            ReadError::EventUnknown => Self::EventUnknown(turn),
            ReadError::Unavailable(error) => error.into(),
        }
    }

    /// What a caller may be told.
    pub fn failure(&self) -> Failure {
        let soon = Duration::from_secs(1);
        match self {
            Self::UnknownPersonas(_) => Failure::new(
                ErrorCode::UnknownPersona,
                "At least one of the personas asked for does not exist.",
            ),
            Self::NoPersonaAllowed => {
                Failure::new(ErrorCode::Forbidden, "This caller may ask none of the personas there are.")
            }
            Self::TooManyPersonas(most) => {
                Failure::new(ErrorCode::InvalidRequest, format!("At most {most} personas may answer."))
            }
            Self::TurnInProgress(_) => {
                Failure::new(ErrorCode::TurnInProgress, "This conversation is answering another message.")
            }
            Self::IdempotencyKeyReused => Failure::new(
                ErrorCode::IdempotencyKeyReused,
                "This key was used for a request with another body.",
            ),
            Self::TurnNotFound => {
                Failure::new(ErrorCode::TurnNotFound, "There is no such turn, or it was forgotten.")
            }
            Self::ConversationNotFound => Failure::new(
                ErrorCode::ConversationNotFound,
                "There is no such conversation, or it was forgotten.",
            ),
            Self::PersonaNotFound => Failure::new(ErrorCode::PersonaNotFound, "There is no such persona."),
            Self::EventUnknown(_) => {
                Failure::new(ErrorCode::EventUnknown, "Read the turn itself; it has its replies.")
            }
            Self::Draining => {
                Failure::new(ErrorCode::Draining, "This server is stopping; another takes over.")
                    .retry_after(soon)
            }
            Self::Overloaded => {
                Failure::new(ErrorCode::Overloaded, "All turns this server can run are taken.")
                    .retry_after(soon)
            }
            Self::StateUnavailable(_) => {
                Failure::new(ErrorCode::StateUnavailable, "What is needed cannot be reached now.")
                    .retry_after(soon)
            }
            Self::Internal(_) => Failure::new(ErrorCode::Internal, "The log of the server knows more."),
        }
    }

    /// The turn the error is about.
    pub fn turn(&self) -> Option<TurnId> {
        match self {
            Self::TurnInProgress(turn) | Self::EventUnknown(turn) => Some(*turn),
            Self::UnknownPersonas(_)
            | Self::NoPersonaAllowed
            | Self::TooManyPersonas(_)
            | Self::IdempotencyKeyReused
            | Self::TurnNotFound
            | Self::ConversationNotFound
            | Self::PersonaNotFound
            | Self::Draining
            | Self::Overloaded
            | Self::StateUnavailable(_)
            | Self::Internal(_) => None,
        }
    }
}

impl From<Overloaded> for ChatError {
    fn from(_: Overloaded) -> Self {
        Self::Overloaded
    }
}

impl From<LogUnavailable> for ChatError {
    fn from(error: LogUnavailable) -> Self {
        Self::StateUnavailable(error.into())
    }
}

impl From<MemoryUnavailable> for ChatError {
    fn from(error: MemoryUnavailable) -> Self {
        Self::StateUnavailable(error.into())
    }
}
