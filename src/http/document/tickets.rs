//! The one operation that poem-openapi does not serve: it belongs to the socket (`http::ws`), but is an ordinary request.

use serde_json::{Value, json};

/// Adds the operation and its schema.
pub(super) fn document(document: &mut Value) {
    document["paths"]["/api/v1/chat/ws/tickets"]["post"] = json!({
        "tags": ["Chat"],
        "summary": "Hold a place for a WebSocket",
        "description": "Browsers cannot read why an upgrade was refused. This makes the same decision readably, and holds \
            the place for 30 s: open the socket with `?ticket=`, on any replica. The ticket stands for the credential that \
            bought it, so a browser needs no other; it may be spent on `streamTurnEvents` instead.",
        "responses": {"201": {
            "description": "The place is held.",
            "headers": {"Location": {}},
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Ticket"}}}
        }},
        "operationId": "createTicket"
    });
    document["components"]["schemas"]["Ticket"] = json!({
        "type": "object",
        "title": "Ticket",
        "description": "The right to open one WebSocket, or to follow one turn.",
        "required": ["ticket", "expires_at"],
        "properties": {
            "ticket": {"type": "string", "description": "Goes into the socket's address as `ticket`; works once."},
            "expires_at": {"type": "string", "format": "date-time", "description": "When the place is given away."}
        }
    });
}
