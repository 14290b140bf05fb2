//! Redis gives the same answers as this process, to the granularity of clocks.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use polylogue::config::Strategy;
use polylogue::limits::{Limiter, LocalLimiter, Policy, Standing};
use polylogue::telemetry::metrics::Backend;
use proptest::prelude::{Just, Strategy as Generator, prop, prop_oneof};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use tokio::time::{Instant, sleep};

use super::{ask, check, policy};
use crate::contract::redis::{Shape, connect_patiently};
use crate::support::redis::RedisServer;

const WINDOW: Duration = Duration::from_millis(250);

/// Schedules of each strategy, all at once.
const SCHEDULES: usize = 24;

/// One request: the moment Redis decided lies between these two.
#[derive(Debug)]
struct Step {
    from: Duration,
    to: Duration,
    said: Standing,
}

impl Step {
    fn is_allowed(&self) -> bool {
        self.said.retry_after.is_none()
    }
}

/// Waits between requests, in milliseconds, that crowd around the window.
fn schedule() -> impl Generator<Value = Vec<u64>> {
    let wait = prop_oneof![3 => Just(0), 3 => 0..12_u64, 2 => 12..100_u64, 1 => 225..275_u64];
    prop::collection::vec(wait, 20..60)
}

/// What Redis said to each request of these schedules; each schedule has a subject of its own.
async fn asked(schedules: &[(Arc<Policy>, Vec<u64>)]) -> Vec<Vec<Step>> {
    let alone = Shape::alone().await;
    let connected = alone.connect_patiently();
    let (limiter, began) = (connected.patient_limiter(), Instant::now());
    let limiter = &limiter;
    let run = |(number, (policy, waits)): (usize, &(Arc<Policy>, Vec<u64>))| {
        let (subject, policy, waits) = (format!("subject {number}"), Arc::clone(policy), waits.clone());
        async move {
            let mut steps = Vec::new();
            for wait in waits {
                sleep(Duration::from_millis(wait)).await;
                let from = began.elapsed();
                let mut verdict = ask(limiter, &subject, &policy).await;
                let to = began.elapsed();
                assert_eq!(verdict.backend, Backend::Redis);
                steps.push(Step { from, to, said: verdict.standings.remove(0) });
            }
            steps
        }
    };
    join_all(schedules.iter().enumerate().map(run)).await
}

/// What this process would have said at one moment, had it allowed something at these before.
async fn told(policy: &Arc<Policy>, allowed: impl Iterator<Item = Duration>, at: Duration) -> Standing {
    let (limiter, began) = (LocalLimiter::new(), Instant::now());
    let until = async |moment: Duration| tokio::time::advance(moment.saturating_sub(began.elapsed())).await;
    for moment in allowed {
        until(moment).await;
        assert!(ask(&limiter, "subject", policy).await.is_allowed());
    }
    until(at).await;
    limiter.look(&check("subject", policy)).await.standings.remove(0)
}

/// Compares each answer with the strictest and the mildest this process can have given: how many could be compared.
/// It ends where nobody can know what Redis saw: a window's end, or the moment one came back, in the midst of a request.
async fn compared(policy: &Arc<Policy>, steps: &[Step]) -> usize {
    let mut compared = 0;
    for (number, step) in steps.iter().enumerate() {
        let allowed = || steps[..number].iter().filter(|step| step.is_allowed());
        let strict = told(policy, allowed().map(|step| step.to), step.from).await;
        let mild = told(policy, allowed().map(|step| step.from), step.to).await;
        let is_sure = strict.retry_after.is_some() == mild.retry_after.is_some();
        let counts_alike = strict.remaining == mild.remaining;
        if !is_sure || !counts_alike && policy.strategy == Strategy::FixedWindow {
            break;
        }
        assert_eq!(step.is_allowed(), strict.retry_after.is_none(), "{step:?}");
        if let (Some(longest), Some(said), Some(shortest)) =
            (strict.retry_after, step.said.retry_after, mild.retry_after)
        {
            // Redis rounds up to whole microseconds.
            assert!((shortest..=longest + Duration::from_micros(2)).contains(&said), "{step:?}");
        }
        if counts_alike {
            let left = step.said.remaining + u32::from(step.is_allowed());
            assert_eq!(left, strict.remaining, "{step:?}");
            compared += 1;
        }
    }
    compared
}

fn schedules(strategy: Strategy) -> Vec<(Arc<Policy>, Vec<u64>)> {
    let mut runner = TestRunner::deterministic();
    let mut next = |number: usize| {
        let quota = 1 + u32::try_from(number % 8).unwrap();
        (policy(quota, WINDOW, strategy), schedule().new_tree(&mut runner).unwrap().current())
    };
    (0..SCHEDULES).map(&mut next).collect()
}

/// Runs the schedules against Redis and then, in paused time, against this process.
fn agrees(strategy: Strategy, keeps_its_quota: fn(&Policy, &[&Step])) {
    let schedules = schedules(strategy);
    let real = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let asked = real.block_on(asked(&schedules));
    let paused =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let mut count = 0;
    for ((policy, _), steps) in schedules.iter().zip(&asked) {
        let allowed: Vec<_> = steps.iter().filter(|step| step.is_allowed()).collect();
        keeps_its_quota(policy, &allowed);
        count += paused.block_on(compared(policy, steps));
    }
    assert!(count >= SCHEDULES, "{count} answers compared: too few to say anything");
}

#[test]
fn a_fixed_window_in_redis_answers_as_one_in_this_process() {
    agrees(Strategy::FixedWindow, |policy, allowed| {
        let mut window: Option<(&Step, u32)> = None;
        for step in allowed {
            let used = match window {
                Some((began, used)) if step.to < began.from + WINDOW => used,
                // Nobody can know in which window it was.
                Some((began, _)) if step.from < began.to + WINDOW => return,
                Some(_) | None => 0,
            };
            assert!(used < policy.quota, "one too many: {step:?}");
            window = Some((window.filter(|_| used > 0).map_or(step, |(began, _)| began), used + 1));
        }
    });
}

#[test]
fn gcra_in_redis_answers_as_governor_in_this_process() {
    agrees(Strategy::Gcra, |policy, allowed| {
        for (first, began) in allowed.iter().enumerate() {
            for (last, ended) in allowed.iter().enumerate().skip(first) {
                let took = (ended.to - began.from).as_secs_f64();
                let most = f64::from(policy.quota) * (1.0 + took / WINDOW.as_secs_f64()) + 0.001;
                assert!((last - first + 1) as f64 <= most, "one too many: {began:?} to {ended:?}");
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_101_requests_through_three_replicas_exactly_100_pass() {
    let redis = RedisServer::start().await;
    let replicas: Vec<_> = (0..3).map(|_| connect_patiently(&redis.url(), "shared")).collect();
    for strategy in [Strategy::FixedWindow, Strategy::Gcra] {
        let limiters: Vec<_> = replicas.iter().map(|replica| replica.patient_limiter()).collect();
        let policy = policy(100, Duration::from_secs(3600), strategy);
        let verdicts = join_all((0..101).map(|n| ask(&limiters[n % 3], "ada", &policy))).await;
        assert!(verdicts.iter().all(|verdict| verdict.backend == Backend::Redis));
        assert_eq!(verdicts.iter().filter(|verdict| verdict.is_allowed()).count(), 100);
    }
}
