//! What the server asks of requests beyond what poem-openapi can say.

use serde_json::{Value, json};

use super::Version;

/// Something other than white space, anywhere. Anchored, because some validators match the whole text and others a part.
const SAID: &str = r"^[\s\S]*\S[\s\S]*$";

/// Closes the requests and adds their rules. Answers stay open, because the server may add to them.
pub(super) fn document(document: &mut Value, version: Version) {
    let schemas = &mut document["components"]["schemas"];
    for (request, said) in [("ChatRequest", "message"), ("AddMessage", "content")] {
        schemas[request]["additionalProperties"] = false.into();
        schemas[request]["properties"][said]["pattern"] = SAID.into();
    }
    schemas["ChatRequest"]["example"] = json!({
        "message": "@historian @skeptic was Troy real?",
        "conversation_id": "team-42",
        "personas": ["historian", "skeptic"],
        "metadata": {"ui": "web"}
    });
    // OpenAPI 3.0 has words for neither; the descriptions say it too.
    if version == Version::V31 {
        let names = json!({"minLength": 1, "maxLength": 64});
        schemas["ChatRequest"]["properties"]["metadata"]["propertyNames"] = names;
        let by_a_persona = json!({"properties": {"role": {"const": "assistant"}}});
        schemas["AddMessage"]["dependentSchemas"] = json!({ "persona": by_a_persona });
    }
}
