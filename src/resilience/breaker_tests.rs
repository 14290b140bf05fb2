use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::{Instant, advance};

use super::{Breaker, Permit};
use crate::config::{self, Span};
use crate::telemetry::metrics::{BreakerCall, BreakerState, Metrics, Name};

const RECOVERY: Duration = Duration::from_secs(60);

fn breaker(failures: u32) -> (Breaker, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new());
    let settings = config::Breaker { failures: failures.try_into().unwrap(), recovery: Span(RECOVERY) };
    (Breaker::new("primary", settings, metrics.clone()), metrics)
}

fn fail(breaker: &Breaker, times: u32) {
    for _ in 0..times {
        breaker.admit().unwrap().failure();
    }
}

#[tokio::test(start_paused = true)]
async fn five_faults_in_a_row_open_it_for_a_minute() {
    let (breaker, metrics) = breaker(5);
    fail(&breaker, 4);
    assert_eq!(breaker.snapshot().consecutive_failures, 4);
    fail(&breaker, 1);

    assert_eq!(breaker.admit().err().unwrap().retry_after, RECOVERY);
    advance(Duration::from_secs(20)).await;
    assert_eq!(breaker.admit().err().unwrap().retry_after, Duration::from_secs(40));
    let now = breaker.snapshot();
    assert_eq!((now.state, now.probe_in), (BreakerState::Open, Some(Duration::from_secs(40))));

    let primary = Name::from("primary");
    assert_eq!(metrics.breakers.state.get(&(primary.clone(), BreakerState::Open)), 1);
    assert_eq!(metrics.breakers.state.get(&(primary.clone(), BreakerState::Closed)), 0);
    assert_eq!(metrics.breakers.transitions.get(&(primary.clone(), BreakerState::Open)), 1);
    assert_eq!(metrics.breakers.calls.get(&(primary.clone(), BreakerCall::Failure)), 5);
    assert_eq!(metrics.breakers.calls.get(&(primary.clone(), BreakerCall::Rejected)), 2);
    assert_eq!(metrics.breakers.consecutive_failures.get(&(primary,)), 5);
}

#[tokio::test(start_paused = true)]
async fn a_success_between_starts_the_count_again_and_an_ignored_call_does_not() {
    let (breaker, _) = breaker(5);
    fail(&breaker, 4);
    breaker.admit().unwrap().success();
    fail(&breaker, 4);
    breaker.admit().unwrap().ignored();
    assert_eq!(breaker.snapshot().state, BreakerState::Closed);
    fail(&breaker, 1);
    assert_eq!(breaker.snapshot().state, BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn after_the_wait_exactly_one_of_many_probes() {
    let (breaker, _) = breaker(1);
    fail(&breaker, 1);
    advance(RECOVERY).await;

    let admitted: Vec<Permit> = (0..100).filter_map(|_| breaker.admit().ok()).collect();

    assert_eq!(admitted.len(), 1);
    assert_eq!(breaker.snapshot().state, BreakerState::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_works_closes_it_and_one_that_fails_opens_it_for_another_minute() {
    let (breaker, _) = breaker(1);
    fail(&breaker, 1);
    advance(RECOVERY).await;
    breaker.admit().unwrap().failure();
    assert_eq!(breaker.admit().err().unwrap().retry_after, RECOVERY);

    advance(RECOVERY).await;
    breaker.admit().unwrap().success();
    assert_eq!(breaker.snapshot().state, BreakerState::Closed);
    assert!(breaker.admit().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_gives_its_place_to_the_next() {
    let (breaker, _) = breaker(1);
    fail(&breaker, 1);
    advance(RECOVERY).await;

    let probe = breaker.admit().unwrap();
    assert!(breaker.wait().is_some());
    drop(probe);

    assert!(breaker.wait().is_none());
    breaker.admit().unwrap().success();
    assert_eq!(breaker.snapshot().state, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_call_from_before_the_last_transition_changes_nothing() {
    let (breaker, _) = breaker(2);
    let (late_success, late_failure, dropped) =
        (breaker.admit().unwrap(), breaker.admit().unwrap(), breaker.admit().unwrap());
    fail(&breaker, 2);
    late_success.success();
    assert_eq!(breaker.snapshot().state, BreakerState::Open);

    advance(RECOVERY).await;
    let probe = breaker.admit().unwrap();
    late_failure.failure();
    drop(dropped);
    assert_eq!(breaker.snapshot().state, BreakerState::HalfOpen);
    assert!(breaker.admit().is_err());

    probe.success();
    assert_eq!(breaker.snapshot().consecutive_failures, 0);
}

#[tokio::test(start_paused = true)]
async fn it_can_be_closed_early_and_then_forgets_its_probe() {
    let (breaker, _) = breaker(2);
    fail(&breaker, 2);
    breaker.close_early();
    assert_eq!(breaker.snapshot().state, BreakerState::Closed);

    fail(&breaker, 2);
    advance(RECOVERY).await;
    let probe = breaker.admit().unwrap();
    breaker.close_early();
    probe.failure();
    assert_eq!(breaker.snapshot().consecutive_failures, 0);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Admit,
    Succeed(usize),
    Fail(usize),
    Drop(usize),
    Pass(u64),
    CloseEarly,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Admit),
        2 => (0_usize..8).prop_map(Step::Succeed),
        4 => (0_usize..8).prop_map(Step::Fail),
        1 => (0_usize..8).prop_map(Step::Drop),
        2 => (1_u64..70).prop_map(Step::Pass),
        1 => Just(Step::CloseEarly),
    ]
}

/// The contract's sentence, written as plainly as possible: what is remembered is a list of ends since the last
/// transition, never a counter.
struct Plain {
    since: Vec<bool>,
    opened: Option<Instant>,
    probe: Option<u64>,
    era: u64,
}

impl Plain {
    fn admits(&mut self, now: Instant) -> bool {
        match self.opened {
            None => true,
            Some(opened) if self.probe.is_none() && now >= opened + RECOVERY => {
                // Becoming half open is a transition; giving the place back and taking it again is none.
                self.era += u64::from(self.since.len() != 1);
                self.since = vec![true];
                self.probe = Some(self.era);
                true
            }
            Some(_) => false,
        }
    }

    fn turn(&mut self, opened: Option<Instant>) {
        *self = Self { since: Vec::new(), opened, probe: None, era: self.era + 1 };
    }

    fn ended(&mut self, era: u64, worked: bool, now: Instant) {
        if era != self.era {
            return;
        }
        if self.probe.is_some() {
            return self.turn((!worked).then_some(now));
        }
        self.since.push(worked);
        if self.since.len() >= 3 && self.since.iter().rev().take(3).all(|worked| !worked) {
            self.turn(Some(now));
        }
    }
}

async fn agrees_with_the_plain_model(steps: Vec<Step>) {
    let (breaker, _) = breaker(3);
    let mut plain = Plain { since: Vec::new(), opened: None, probe: None, era: 0 };
    let mut running: Vec<(Permit, u64)> = Vec::new();
    for step in steps {
        let now = Instant::now();
        match step {
            Step::Admit => {
                let admitted = breaker.admit().ok();
                assert_eq!(admitted.is_some(), plain.admits(now));
                running.extend(admitted.map(|permit| (permit, plain.era)));
            }
            Step::Succeed(n) if n < running.len() => {
                let (permit, era) = running.remove(n);
                permit.success();
                plain.ended(era, true, now);
            }
            Step::Fail(n) if n < running.len() => {
                let (permit, era) = running.remove(n);
                permit.failure();
                plain.ended(era, false, now);
            }
            Step::Drop(n) if n < running.len() => {
                let (permit, era) = running.remove(n);
                drop(permit);
                plain.probe = plain.probe.filter(|probe| *probe != era);
            }
            Step::Pass(seconds) => advance(Duration::from_secs(seconds)).await,
            Step::CloseEarly => {
                breaker.close_early();
                if plain.opened.is_some() {
                    plain.turn(None);
                }
            }
            Step::Succeed(_) | Step::Fail(_) | Step::Drop(_) => {}
        }
        assert_eq!(breaker.snapshot().state == BreakerState::Closed, plain.opened.is_none());
    }
}

proptest! {
    #[test]
    fn any_order_of_calls_and_ends_gives_what_the_plain_model_gives(
        steps in proptest::collection::vec(step(), 1..120)
    ) {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(agrees_with_the_plain_model(steps));
    }
}
