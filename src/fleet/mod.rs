//! Which replicas are alive (`state.md` §1.6).

mod local;
mod observer;
mod remote;
mod size;

use async_trait::async_trait;
pub use local::{LocalFleet, LocalPresence};
pub use remote::RedisPresence;
pub use size::FleetSize;

use crate::words::ReplicaId;

/// A sign of life, and what others have left behind.
#[async_trait]
pub trait Presence: Send + Sync + 'static {
    /// Gives one sign of life, and looks who else does. Called every `turns.beat`.
    async fn beat(&self) -> Result<Fleet, FleetUnavailable>;

    /// Forgets a dead replica, when nothing is left of it to go on with. One that was only cut off comes back with its next
    /// sign of life.
    async fn bury(&self, dead: &ReplicaId) -> Result<(), FleetUnavailable>;

    /// Says goodbye: this replica's number is removed at once.
    async fn leave(&self) -> Result<(), FleetUnavailable>;
}

/// The fleet as one replica sees it after a beat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Replicas that gave signs of life, this one included.
    pub alive: Vec<ReplicaId>,
    /// Replicas whose number has not moved for `turns.lease` while all of our own beats succeeded.
    pub dead: Vec<ReplicaId>,
}

/// The fleet cannot be asked now.
#[derive(Debug, thiserror::Error)]
#[error("the fleet cannot be asked")]
pub struct FleetUnavailable(#[source] pub Box<dyn std::error::Error + Send + Sync>);
