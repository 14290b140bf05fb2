//! How a caller says who it is. Whether it has to depends on the installation, so the documents allow both.

use serde_json::{Value, json};

use super::operations;

/// The schemes, as both OpenAPI and AsyncAPI write them but for `ticket`'s type.
pub fn schemes(ticket: &str) -> Value {
    json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key (`plg_…`) or a token (JWT) of the issuer, where the operator asks for one."
        },
        "ticket": {
            "type": ticket,
            "in": "query",
            "name": "ticket",
            "description": "A ticket of `createTicket`: works once, within 30 s, on any replica. For browsers, which cannot \
                set headers here."
        }
    })
}

/// Adds the schemes, and where each can be used.
pub(super) fn document(document: &mut Value) {
    document["components"]["securitySchemes"] = schemes("apiKey");
    document["security"] = json!([{"bearer": []}, {}]);
    operations(document, |id, operation| {
        if id == "streamTurnEvents" {
            operation["security"] = json!([{"bearer": []}, {"ticket": []}, {}]);
        }
    });
}
