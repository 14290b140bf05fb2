//! The wire as it is documented.
//!
//! What travels is what [`crate::words`] serialises; these types only say so to poem-openapi. A test reads every example
//! of the contract with both, so that they cannot drift apart.

mod conversation;
mod documented;
mod event;
mod problem;
mod request;
mod scalars;
mod turn;

pub use conversation::{
    Conversation, ConversationPage, ConversationSummary, Message, MessagePage, Persona, PersonaList,
};
pub use documented::Documented;
pub use event::TurnEvent;
pub use problem::{Fault, Problem};
pub use request::{AddMessage, ChatRequest};
pub use scalars::{IdempotencyKey, OPEN, Order, PageSize, Sent};
pub use turn::{ConversationRef, Reply, Routing, Turn, Usage};
