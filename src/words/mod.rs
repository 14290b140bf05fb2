//! The vocabulary of the contract: what every other module talks about, and nothing that decides anything.
//!
//! A value of one of these types is right by construction; parsing is the only logic here.

mod allowed;
mod event;
mod failure;
mod ids;
mod message;
mod principal;
mod realm;
mod turn;

pub use allowed::AllowedPersonas;
pub use event::{Event, EventBody};
pub use failure::{ErrorCode, Failure};
pub use ids::{
    CallerName, ConnectionId, ConversationId, EventId, MessageId, PersonaId, ReplicaId, RequestId, TurnId,
    new_ulid,
};
pub use message::{Message, Role, Timestamp};
pub use principal::{ClientAddress, Principal};
pub use realm::{ConversationKey, PrincipalHash, Realm};
pub use turn::{
    CancelReason, ConversationRef, Reply, ReplyStatus, ResetReason, Routing, RoutingSource, Turn, TurnStatus,
    Usage,
};

/// A value that is not what its name says; the text says what it must be, never what was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub &'static str);
