//! Metrics of routing, the model and the breakers around it.

use super::family::{Counter as counter, Gauge as gauge, Histogram as histogram, Name, family};
use super::labels::*;
use super::shape::Buckets;

const ROUTING: Buckets = Buckets {
    why: "The cache answers in µs; the model is cut at 1.5 s.",
    bounds: &[0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0],
};
const CALL: Buckets = Buckets {
    why: "From a short answer to the turn's deadline.",
    bounds: &[0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0],
};
pub(super) const FIRST_TOKEN: Buckets = Buckets {
    why: "The same as a turn's, so that the difference is ours; 20 s is the time-out.",
    bounds: &[0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0],
};
const CHUNK: Buckets = Buckets {
    why: "10 to 50 ms is normal, 15 s the time-out.",
    bounds: &[0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 5.0, 15.0],
};

family! {
    /// Circuits.
    Breakers {
        /// 1 for the state a breaker is in, 0 for the others.
        gauge state = "breaker_state" [breaker: Name, state: BreakerState];
        /// Changes of a breaker's state, by the new state.
        counter transitions = "breaker_transitions_total" [breaker: Name, to: BreakerState];
        /// Calls through a breaker, by what it saw.
        counter calls = "breaker_calls_total" [breaker: Name, outcome: BreakerCall];
        /// Faults in a row.
        gauge consecutive_failures = "breaker_consecutive_failures" [breaker: Name];
    }
}
family! {
    /// Choosing who answers.
    Routing {
        /// Routing decisions, by which way they were made.
        counter decisions = "routing_decisions_total" [source: RouteSource];
        /// How long a routing decision took.
        histogram duration = "routing_duration_seconds" [source: RouteSource] in ROUTING;
    }
}
family! {
    /// Calls of the model.
    Model {
        /// Requests to an upstream, one per attempt.
        counter requests = "llm_requests_total" [upstream: Name, model: Name, outcome: ModelOutcome, cause: ModelCause];
        /// How long one request to an upstream took, to its last token.
        histogram duration = "llm_request_duration_seconds" [upstream: Name, model: Name, outcome: ModelOutcome] in CALL;
        /// Time to the first token of one request to an upstream.
        histogram first_token = "llm_time_to_first_token_seconds" [upstream: Name, model: Name] in FIRST_TOKEN;
        /// Time between two pieces of an answer.
        histogram chunk = "llm_time_per_output_chunk_seconds" [upstream: Name, model: Name] in CHUNK;
        /// Tokens as the model counted them.
        counter tokens = "llm_tokens_total" [model: Name, type: TokenType];
        /// Attempts after the first, by why the one before ended.
        counter retries = "llm_retries_total" [reason: ModelOutcome];
        /// Requests to an upstream that are running now.
        gauge in_flight = "llm_requests_in_flight" [upstream: Name];
        /// 1 while the built-in simulator answers instead of a model.
        gauge simulator_in_use = "simulator_in_use";
    }
}
