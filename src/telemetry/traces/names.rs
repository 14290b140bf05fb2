//! What spans are called by: conventions, and the only fields that leave this process.

/// The conventions that names and attributes follow, the scope's schema: GenAI v0.1.0, which builds on those for HTTP.
pub(super) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/gen-ai/0.1.0";

/// What made the spans.
pub(super) const SCOPE: &str = "polylogue";

/// Fields of a span that become its attributes; every other field stays here.
const ATTRIBUTES: [&str; 33] = [
    "db.operation.name",
    "db.system.name",
    "error.type",
    "gen_ai.agent.name",
    "gen_ai.conversation.id",
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.max_tokens",
    "gen_ai.request.model",
    "gen_ai.request.stream",
    "gen_ai.request.temperature",
    "gen_ai.response.finish_reasons",
    "gen_ai.response.id",
    "gen_ai.response.model",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "http.request.method",
    "http.request.resend_count",
    "http.response.status_code",
    "http.route",
    "polylogue.frame.type",
    "polylogue.graph.node",
    "polylogue.reply.outcome",
    "polylogue.request.id",
    "polylogue.routing.source",
    "polylogue.sampled_late",
    "polylogue.turn.id",
    "polylogue.turn.outcome",
    "polylogue.turn.takeover",
    "polylogue.upstream",
    "polylogue.upstream.cause",
    "server.address",
    "server.port",
];

/// Fields of an event that become attributes of the span's event: closed words, numbers, and names from the configuration.
const EVENT_ATTRIBUTES: [&str; 19] = [
    "attempt",
    "backend",
    "breaker",
    "code",
    "epoch",
    "failures",
    "feature",
    "operation",
    "outcome",
    "persona",
    "policy",
    "policy_name",
    "reason",
    "recovery_ms",
    "retry_after_ms",
    "source",
    "status",
    "upstream",
    "wait_ms",
];

/// Events that only sum up what the span says itself.
const SUMMARIES: [&str; 2] = ["request_finished", "turn_finished"];

/// Attributes that are lists in the conventions.
const LISTS: [&str; 1] = ["gen_ai.response.finish_reasons"];

/// The attribute that a turn outside the sample has when it is told of all the same.
pub(super) const SAMPLED_LATE: &str = "polylogue.sampled_late";

/// What makes a span a failed one.
pub(super) const ERROR_TYPE: &str = "error.type";

/// Whether a span may show this field.
pub(super) fn is_attribute(name: &str) -> bool {
    ATTRIBUTES.binary_search(&name).is_ok()
}

/// Whether an event of a span may show this field.
pub(super) fn is_event_attribute(name: &str) -> bool {
    EVENT_ATTRIBUTES.binary_search(&name).is_ok()
}

/// Whether an event of this name belongs to the span it happens in.
pub(super) fn is_decision(event: &str) -> bool {
    !SUMMARIES.contains(&event)
}

/// Whether the attribute is a list.
pub(super) fn is_list(name: &str) -> bool {
    LISTS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_in_which_they_are_looked_for() {
        assert!(ATTRIBUTES.is_sorted() && EVENT_ATTRIBUTES.is_sorted());
    }
}
