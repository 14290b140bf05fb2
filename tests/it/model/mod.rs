//! A model of the protocol: the product's owners and readers on a store that was written from `state.md` alone, in fleets
//! whose parts die, stand still, are cut off and forget, by schedules drawn from a seed.
//!
//! `MODEL_RUNS` says how many runs there are of each kind, `MODEL_SEED` is the first one's seed; a failure prints both.
//! Chance that is not ours (the jitter of a writer's pauses) may keep a seed from failing every time.

mod check;
mod check_tests;
mod client;
mod link;
mod plan;
mod play;
mod replica;
mod run;
mod store;
mod trace;
mod world;

use plan::Mode;
use run::{Failure, run};
use store::Mutant;
use trace::Trace;

/// Runs of each kind, unless the environment says otherwise.
const RUNS: u64 = 2000;

/// How often a seed that failed is run again to see how.
const REPLAYS: usize = 30;

/// A number that whoever runs the test may set.
fn asked_for(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "no setting of the product: how long a test shall look")]
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap())
}

fn seeds(runs: u64) -> std::ops::Range<u64> {
    let first = asked_for("MODEL_SEED").unwrap_or(1);
    first..first + asked_for("MODEL_RUNS").unwrap_or(runs)
}

/// Fails with the story of the first run that is not as it should be.
fn every_run_is_exact(mode: Mode) {
    for seed in seeds(RUNS) {
        let Err(Failure { why, .. }) = run(seed, mode, Mutant::None, Trace::default) else { continue };
        let replays = (0..REPLAYS).filter_map(|_| run(seed, mode, Mutant::None, Trace::kept).err());
        let replays: Vec<_> = replays.collect();
        let story = replays.first().map_or("", |again| &again.story);
        panic!(
            "{mode:?}, MODEL_SEED={seed}: {why}\n\nIt failed {} times of {REPLAYS} more; once like this:\n{story}",
            replays.len()
        );
    }
}

#[test]
fn with_one_fault_at_a_time_nothing_is_lost_and_every_resume_is_exact() {
    every_run_is_exact(Mode::OneAtATime);
}

#[test]
fn whatever_goes_wrong_every_resume_is_exact() {
    every_run_is_exact(Mode::Anything);
}

/// Whether some run within reach shows that a store like this is wrong.
fn is_noticed(mutant: Mutant) -> bool {
    (1..RUNS).any(|seed| run(seed, Mode::Anything, mutant, Trace::default).is_err())
}

#[test]
fn a_store_that_writes_for_anybody_is_noticed() {
    assert!(is_noticed(Mutant::WritesForAnybody));
}

#[test]
fn a_store_that_writes_anywhere_is_noticed() {
    assert!(is_noticed(Mutant::WritesAnywhere));
}

#[test]
fn a_read_that_repeats_what_is_below_the_position_is_noticed() {
    assert!(is_noticed(Mutant::ReadsWholeEntries));
}

#[test]
fn a_takeover_without_resets_is_noticed() {
    assert!(is_noticed(Mutant::ResetsNothing));
}

#[test]
fn an_epoch_that_comes_twice_is_noticed() {
    assert!(is_noticed(Mutant::CountsEpochs));
}
