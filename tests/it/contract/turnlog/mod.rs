//! The turn log: what every implementation must answer (`claims`), and what owners and readers make of it.

mod claims;
mod faults;
mod flaky;
mod owner;
mod ownership;
mod resume;
mod stage;
mod takeover;

use std::sync::Arc;

use polylogue::config::Turns;
use polylogue::turnlog::{LocalTurnLog, TurnLog};

/// Runs every claim against one implementation: its name, and how it is made from the settings.
macro_rules! contract {
    ($name:ident: $make:expr) => {
        mod $name {
            use super::*;

            contract!(@claims $make;
                claims:
                an_accepted_turn_can_be_read
                the_same_key_finds_the_same_turn_and_refuses_another_body
                a_busy_conversation_takes_no_second_turn_until_the_first_has_ended
                an_accept_whose_answer_was_lost_may_be_repeated
                a_write_that_does_not_follow_is_told_where_to_go_on
                a_write_repeated_after_a_lost_answer_doubles_nothing
                a_finish_repeated_after_a_lost_answer_is_ok
                a_cancel_is_seen_at_the_next_write_and_its_first_reason_stands
                an_ended_turn_takes_nothing_more
                what_the_log_does_not_know_is_gone
                an_ended_turn_and_its_key_are_forgotten_after_a_while
                a_log_is_read_in_pages
                a_change_wakes_who_waits_for_it
            );
            contract!(@claims $make;
                ownership:
                a_takeover_resets_exactly_the_unfinished_replies
                a_takeover_before_routing_resets_nothing
                a_stale_owner_is_fenced_whatever_it_tries
                epochs_only_grow_and_one_of_two_takeovers_wins
                a_turn_taken_over_too_often_is_given_only_to_end_it
                a_released_turn_is_nobodys_until_somebody_takes_it
                a_race_of_owners_leaves_exactly_one_terminal_event
            );
        }
    };
    (@claims $make:expr; $group:ident: $($claim:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() {
                super::$group::$claim($make(stage::short_lived()).await).await;
            }
        )*
    };
}

contract!(local: local_log);

async fn local_log(settings: Turns) -> Arc<dyn TurnLog> {
    Arc::new(LocalTurnLog::new(settings))
}
