//! The turn log: what every implementation must answer (`claims`), and what owners and readers make of it.

mod claims;
mod faults;
pub mod flaky;
mod index;
mod owner;
mod ownership;
mod restoring;
mod resume;
mod stage;
mod takeover;

use std::sync::Arc;

use polylogue::turnlog::{LocalTurnLog, RedisTurnLog, TurnLog};

use crate::contract::redis::{Connected, Shape};

/// Hands every claim of the suite to another macro, as `group: claim`.
macro_rules! every_claim {
    ($then:ident) => {
        $then! {
            claims: an_accepted_turn_can_be_read,
            claims: the_same_key_finds_the_same_turn_and_refuses_another_body,
            claims: a_turn_is_of_its_principal_whose_conversation_is_nobody_elses,
            claims: a_turn_that_was_taken_over_is_still_of_its_principal,
            claims: a_busy_conversation_takes_no_second_turn_until_the_first_has_ended,
            claims: an_accept_whose_answer_was_lost_may_be_repeated,
            claims: an_accept_that_arrives_late_begins_nothing_again,
            claims: a_write_that_does_not_follow_is_told_where_to_go_on,
            claims: a_write_repeated_after_a_lost_answer_doubles_nothing,
            claims: a_finish_repeated_after_a_lost_answer_is_ok,
            claims: a_cancel_is_seen_at_the_next_write_and_its_first_reason_stands,
            claims: an_ended_turn_takes_nothing_more,
            claims: what_the_log_does_not_know_is_gone,
            claims: an_ended_turn_and_its_key_are_forgotten_after_a_while,
            claims: a_log_is_read_in_pages,
            claims: a_change_wakes_who_waits_for_it,
            ownership: a_takeover_resets_exactly_the_unfinished_replies,
            ownership: a_takeover_before_routing_resets_nothing,
            ownership: a_stale_owner_is_fenced_whatever_it_tries,
            ownership: epochs_only_grow_and_one_of_two_takeovers_wins,
            ownership: a_turn_taken_over_too_often_is_given_only_to_end_it,
            ownership: a_released_turn_is_nobodys_until_somebody_takes_it,
            ownership: a_race_of_owners_leaves_exactly_one_terminal_event,
            restoring: a_turn_the_log_never_had_is_restored_whole,
            restoring: an_owner_restores_its_turn_over_what_the_log_has_of_it,
            restoring: a_turn_that_is_anothers_now_is_not_restored,
            restoring: what_leads_elsewhere_meanwhile_keeps_leading_there,
        }
    };
}

macro_rules! local_tests {
    ($($group:ident: $claim:ident,)*) => {
        mod local {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $claim() {
                    super::$group::$claim(Arc::new(LocalTurnLog::new(stage::short_lived()))).await;
                }
            )*
        }
    };
}
every_claim!(local_tests);

macro_rules! redis_tests {
    ($($group:ident: $claim:ident,)*) => {
        mod redis {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $claim() {
                    let alone = Shape::alone().await;
                    let connected = alone.connect();
                    super::$group::$claim(redis_log(&connected)).await;
                }
            )*
        }

        /// Every claim on a Redis of a shape that takes longer to come up, one after the other.
        async fn every_claim_holds(shape: Shape) {
            $({
                let connected = shape.connect();
                $group::$claim(redis_log(&connected)).await;
            })*
        }
    };
}
every_claim!(redis_tests);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_claim_holds_behind_sentinel() {
    every_claim_holds(Shape::watched().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_claim_holds_on_a_cluster() {
    every_claim_holds(Shape::cluster().await).await;
}

fn redis_log(connected: &Connected) -> Arc<dyn TurnLog> {
    let (redis, metrics) = (connected.redis.clone(), Arc::clone(&connected.metrics));
    Arc::new(RedisTurnLog::new(redis, stage::short_lived(), metrics, &connected.keeping))
}
