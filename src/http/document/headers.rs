//! Headers of answers: named as they are written, described once, referred to everywhere.

use serde_json::{Map, Value, json};

use super::{members, operations};

/// Headers of every answer.
const EVERYWHERE: [&str; 6] = [
    "X-Request-ID",
    "RateLimit-Policy",
    "RateLimit",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
];

/// Every header the document names; poem-openapi writes names in capitals.
fn described() -> [(&'static str, Value); 11] {
    let text = |about: &str, example: &str| json!({"description": about, "schema": {"type": "string", "example": example}});
    let number = |about: &str, example: u64| json!({"description": about, "schema": {"type": "integer", "minimum": 0, "example": example}});
    [
        (
            "Location",
            text(
                "Where the turn can be read; of a ticket, where its socket is opened.",
                "/api/v1/turns/01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2",
            ),
        ),
        ("Turn-Id", text("The turn's id.", "01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2")),
        (
            "Idempotent-Replayed",
            text("`true` if an earlier request with the same key started the turn.", "true"),
        ),
        ("X-Request-ID", text("The request's id: taken over from the request, or made.", "7f3c2a9e")),
        ("RateLimit-Policy", text("The policies that were asked.", "\"default\";q=100;w=60")),
        (
            "RateLimit",
            text("How much of each policy is left, and until when, in seconds.", "\"default\";r=99;t=42"),
        ),
        ("X-RateLimit-Limit", number("The quota of the policy nearest to refusal.", 100)),
        ("X-RateLimit-Remaining", number("What is left of it.", 99)),
        ("X-RateLimit-Reset", number("When it is whole again, in seconds since 1970.", 1_795_460_442)),
        ("WWW-Authenticate", text("What to show (RFC 6750).", "Bearer realm=\"polylogue\"")),
        ("Retry-After", number("When to try again, in seconds.", 42)),
    ]
}

/// A reference to a described header.
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/headers/{name}") })
}

/// The headers of every answer, as references.
pub(super) fn everywhere() -> Map<String, Value> {
    EVERYWHERE.iter().map(|name| ((*name).to_owned(), reference(name))).collect()
}

/// Puts the descriptions into the components and references into every answer.
pub(super) fn document(document: &mut Value) {
    let described = described();
    operations(document, |_, operation| {
        for response in members(&mut operation["responses"]) {
            let own = response["headers"].as_object().cloned().unwrap_or_default();
            let name = |shouted: &String| {
                described.iter().map(|(name, _)| *name).find(|name| name.eq_ignore_ascii_case(shouted))
            };
            let mut headers: Map<String, Value> =
                own.keys().filter_map(name).map(|name| (name.to_owned(), reference(name))).collect();
            headers.extend(everywhere());
            response["headers"] = headers.into();
        }
    });
    let described: Map<String, Value> =
        described.into_iter().map(|(name, header)| (name.to_owned(), header)).collect();
    document["components"]["headers"] = described.into();
}
