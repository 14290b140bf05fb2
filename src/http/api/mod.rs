//! The operations under `/api/v1`.

mod accept;
mod asked;
mod chat;
mod conversations;
mod failed;
mod header;
mod personas;
mod turns;

use poem::{Endpoint, EndpointExt as _, Response};
use poem_openapi::{LicenseObject, OpenApiService, Tags};

use super::Services;

/// Where the operations live.
pub const PREFIX: &str = "/api/v1";

/// Every operation: method, path with its parameters in braces, operationId. The names never change.
pub const OPERATIONS: &[(&str, &str, &str)] = &[
    ("POST", "/api/v1/chat", "createChat"),
    ("POST", "/api/v1/chat/stream", "streamChat"),
    ("POST", "/api/v1/turns", "startTurn"),
    ("GET", "/api/v1/turns/{turn_id}", "getTurn"),
    ("GET", "/api/v1/turns/{turn_id}/events", "streamTurnEvents"),
    ("POST", "/api/v1/turns/{turn_id}/cancel", "cancelTurn"),
    ("GET", "/api/v1/conversations", "listConversations"),
    ("GET", "/api/v1/conversations/{id}", "getConversation"),
    ("DELETE", "/api/v1/conversations/{id}", "deleteConversation"),
    ("GET", "/api/v1/conversations/{id}/messages", "listMessages"),
    ("POST", "/api/v1/conversations/{id}/messages", "addMessage"),
    ("GET", "/api/v1/personas", "listPersonas"),
    ("GET", "/api/v1/personas/{id}", "getPersona"),
];

/// The parts of the document.
#[derive(Tags)]
enum Tag {
    /// Ask, and get the answers: at once, or as they are made.
    Chat,
    /// One user message and everything that answers it: read it, follow it, cancel it.
    Turns,
    /// What was said.
    Conversations,
    /// Who can be asked.
    Personas,
}

type Operations = (chat::ChatApi, turns::TurnsApi, conversations::ConversationsApi, personas::PersonasApi);

fn service() -> OpenApiService<Operations, ()> {
    let operations = (chat::ChatApi, turns::TurnsApi, conversations::ConversationsApi, personas::PersonasApi);
    OpenApiService::new(operations, "Polylogue", env!("CARGO_PKG_VERSION"))
        .summary("A chat service in which several LLM personas answer one user in parallel")
        .license(LicenseObject::new("Apache-2.0").identifier("Apache-2.0"))
        .url_prefix(PREFIX)
}

/// The operations as poem-openapi describes them: the raw material of the document.
pub(super) fn described() -> String {
    service().spec()
}

/// All operations, to be nested at [`PREFIX`]. Every request must carry an [`super::Identity`].
pub fn routes(services: &Services) -> impl Endpoint<Output = Response> + use<> {
    poem::IntoEndpoint::into_endpoint(service()).data(services.clone()).map_to_response()
}
