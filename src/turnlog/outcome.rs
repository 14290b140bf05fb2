//! What an owner is told about the turn it runs.

use super::journal::TurnFull;
#[cfg(doc)]
use super::live::Live;
use crate::words::TurnStatus;

/// Why a turn is no longer this owner's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Another owner has it.
    Fenced,
    /// Somebody else ended it.
    Ended(TurnStatus),
    /// The log does not know it.
    Gone,
    /// It was given up by [`Live::release`].
    Released,
    /// The process stops, or the turn is long past its deadline.
    GivenUp,
}

/// How a turn's end was taken by the durable log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// It is there.
    Durable,
    /// The turn was not ours to end any more.
    Lost(Loss),
    /// The log cannot be reached; the writer goes on trying.
    Unconfirmed,
}

/// How a checkpoint was taken by the durable log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Everything pushed before is there.
    Durable,
    /// The turn is no longer ours; nothing more is written.
    Lost(Loss),
    /// The log cannot be reached; the turn goes on in memory.
    Unconfirmed,
}

/// Why an event was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// Only what ends replies and the turn has room.
    #[error(transparent)]
    Full(#[from] TurnFull),
    /// The turn has ended, or is no longer this owner's.
    #[error("the turn is over here")]
    Over,
}
