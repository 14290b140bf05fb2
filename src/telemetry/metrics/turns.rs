//! Metrics of turns and replies.

use super::family::{Counter as counter, Gauge as gauge, Histogram as histogram, Name, family};
use super::labels::*;
use super::model::FIRST_TOKEN;
use super::shape::Buckets;

const TURN: Buckets = Buckets {
    why: "The deadline is the last bound.",
    bounds: &[0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 90.0, 120.0],
};
const OVERHEAD: Buckets = Buckets {
    why: "The targets are 0.3, 1 and 5 ms.",
    bounds: &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5],
};

family! {
    /// Turns and replies.
    Turns {
        /// Turns that ended, by outcome.
        counter total = "turns_total" [outcome: TurnOutcome];
        /// Turns this replica runs now.
        gauge in_flight = "turns_in_flight";
        /// Turns that were not begun, by reason.
        counter rejected = "turns_rejected_total" [reason: TurnRefusal];
        /// How long turns took.
        histogram duration = "turn_duration_seconds" [outcome: TurnOutcome] in TURN;
        /// From the request to the first piece of text, by the door it came through.
        histogram first_token = "turn_time_to_first_token_seconds" [transport: Transport] in FIRST_TOKEN;
        /// What a turn took beside the time in which at least one model call of it was awaited: our own time.
        histogram overhead = "turn_overhead_seconds" in OVERHEAD;
        /// What a reply took beside the time in which its model call was awaited: our own time.
        histogram reply_overhead = "reply_overhead_seconds" in OVERHEAD;
        /// Turns taken over from another replica, by reason.
        counter takeovers = "turn_takeovers_total" [reason: Takeover];
        /// Replies that ended, by persona and outcome.
        counter replies = "replies_total" [persona: Name, outcome: ReplyOutcome];
        /// Requests with an idempotency key or ref, by what it did.
        counter idempotency = "idempotency_requests_total" [outcome: Idempotency];
    }
}
