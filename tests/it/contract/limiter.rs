//! What every implementation of `Limiter` promises.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use polylogue::config::{Scope, Strategy as Counting};
use polylogue::limits::{Check, Limiter, LocalLimiter, Policy, Standing, Verdict};
use proptest::prelude::*;
use tokio::time::Instant;

use crate::contract::redis::{Connected, Shape};

/// A limiter, and the window its policies have here: a minute in paused time, less where it really has to pass.
struct Stand {
    limiter: Arc<dyn Limiter>,
    window: Duration,
}

/// Hands every claim to another macro.
macro_rules! every_claim {
    ($then:ident) => {
        $then! {
            the_101st_is_refused_and_the_windows_end_resets_it,
            a_window_starts_with_a_subjects_first_request_in_it,
            a_refused_request_consumes_nothing,
            several_policies_are_counted_all_or_none,
            subjects_and_policies_do_not_mix,
            looking_counts_nothing,
            gcra_gives_back_one_by_one,
            what_gcra_says_about_waiting_is_exact,
            however_many_ask_at_once_only_the_quota_is_allowed,
        }
    };
}

macro_rules! local_tests {
    ($($claim:ident,)*) => {
        mod local {
            $(#[tokio::test(start_paused = true)] async fn $claim() { super::$claim(super::local()).await; })*
        }
    };
}
every_claim!(local_tests);

macro_rules! redis_tests {
    ($($claim:ident,)*) => {
        mod redis {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $claim() {
                    let alone = super::Shape::alone().await;
                    let connected = alone.connect_patiently();
                    super::$claim(super::remote(&connected)).await;
                }
            )*
        }

        /// Every claim on a Redis of a shape that takes longer to come up, side by side.
        async fn every_claim_holds(shape: Shape) {
            tokio::join!($(async {
                let connected = shape.connect_patiently();
                $claim(remote(&connected)).await;
            }),*);
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

fn local() -> Stand {
    Stand { limiter: Arc::new(LocalLimiter::new()), window: Duration::from_secs(60) }
}

fn remote(connected: &Connected) -> Stand {
    Stand { limiter: Arc::new(connected.patient_limiter()), window: Duration::from_secs(2) }
}

impl Stand {
    fn policy(&self, name: &str, quota: u32, strategy: Counting) -> Arc<Policy> {
        Arc::new(Policy { name: name.into(), quota, window: self.window, scope: Scope::Ip, strategy })
    }

    fn fixed(&self, quota: u32) -> Arc<Policy> {
        self.policy(&format!("fixed-{quota}"), quota, Counting::FixedWindow)
    }

    fn gcra(&self, quota: u32) -> Arc<Policy> {
        self.policy(&format!("gcra-{quota}"), quota, Counting::Gcra)
    }

    async fn ask(&self, subject: &str, policies: &[&Arc<Policy>]) -> Verdict {
        self.limiter.decide(&checks(subject, policies)).await
    }

    async fn allows(&self, subject: &str, policy: &Arc<Policy>) -> bool {
        self.ask(subject, &[policy]).await.is_allowed()
    }

    async fn uses_up(&self, subject: &str, policy: &Arc<Policy>) {
        for _ in 0..policy.quota {
            assert!(self.allows(subject, policy).await);
        }
    }

    /// Lets a part of the window pass.
    async fn pass(&self, part: f64) {
        tokio::time::sleep(self.window.mul_f64(part)).await;
    }
}

fn checks(subject: &str, policies: &[&Arc<Policy>]) -> Vec<Check> {
    let check = |policy: &&Arc<Policy>| Check { policy: Arc::clone(policy), subject: subject.to_owned() };
    policies.iter().map(check).collect()
}

async fn the_101st_is_refused_and_the_windows_end_resets_it(stand: Stand) {
    let policy = stand.fixed(100);
    for left in (0..100).rev() {
        let verdict = stand.ask("ada", &[&policy]).await;
        assert!(verdict.is_allowed());
        assert_eq!(verdict.standings[0].remaining, left);
    }
    let Standing { remaining, reset, retry_after, .. } =
        stand.ask("ada", &[&policy]).await.standings.remove(0);
    assert_eq!((remaining, retry_after), (0, Some(reset)));
    assert!(reset > Duration::ZERO && reset <= stand.window);

    tokio::time::sleep(reset).await;
    assert_eq!(stand.ask("ada", &[&policy]).await.standings[0].remaining, 99);
}

async fn a_window_starts_with_a_subjects_first_request_in_it(stand: Stand) {
    let policy = stand.fixed(2);
    assert!(stand.allows("ada", &policy).await);
    stand.pass(0.75).await;
    assert!(stand.allows("bob", &policy).await);
    let reset = stand.ask("ada", &[&policy]).await.standings[0].reset;
    assert!(reset <= stand.window.mul_f64(0.25), "a later request does not move the end");

    stand.pass(0.5).await;
    assert!(stand.allows("ada", &policy).await, "hers is over");
    assert!(stand.allows("bob", &policy).await);
    assert!(!stand.allows("bob", &policy).await, "his is not");
}

async fn a_refused_request_consumes_nothing(stand: Stand) {
    for policy in [stand.fixed(3), stand.gcra(3)] {
        stand.uses_up("ada", &policy).await;
        let first = wait_of(&stand.ask("ada", &[&policy]).await);
        for _ in 0..50 {
            assert!(wait_of(&stand.ask("ada", &[&policy]).await) <= first);
        }
        tokio::time::sleep(first).await;
        assert!(stand.allows("ada", &policy).await);
    }
}

fn wait_of(verdict: &Verdict) -> Duration {
    verdict.standings[0].retry_after.unwrap()
}

async fn several_policies_are_counted_all_or_none(stand: Stand) {
    for (small, large) in
        [(stand.fixed(1), stand.fixed(9)), (stand.gcra(1), stand.gcra(9)), (stand.gcra(2), stand.fixed(8))]
    {
        for _ in 0..small.quota {
            assert!(stand.ask("ada", &[&large, &small]).await.is_allowed());
        }
        let left = large.quota - small.quota;
        for _ in 0..5 {
            let verdict = stand.ask("ada", &[&large, &small]).await;
            assert!(!verdict.is_allowed());
            assert_eq!(verdict.standings.len(), 2, "one for each, in order");
            assert_eq!((verdict.standings[0].remaining, verdict.standings[0].retry_after), (left, None));
            assert_eq!(verdict.standings[1].remaining, 0);
            assert!(verdict.standings[1].retry_after.is_some());
        }
        let after = stand.ask("ada", &[&large]).await;
        assert_eq!(after.standings[0].remaining, left - 1);
    }
}

async fn subjects_and_policies_do_not_mix(stand: Stand) {
    let [one, other] = ["one", "other"].map(|name| stand.policy(name, 1, Counting::FixedWindow));
    assert!(stand.allows("ada", &one).await);
    assert!(stand.allows("bob", &one).await);
    assert!(stand.allows("ada", &other).await);
    assert!(!stand.allows("ada", &one).await);
}

async fn looking_counts_nothing(stand: Stand) {
    for policy in [stand.fixed(3), stand.gcra(3)] {
        let checks = checks("ada", &[&policy]);
        let look = async || stand.limiter.look(&checks).await.standings.remove(0);
        let fresh = look().await;
        assert_eq!((fresh.remaining, fresh.reset, fresh.retry_after), (3, Duration::ZERO, None));

        stand.allows("ada", &policy).await;
        for _ in 0..10 {
            assert_eq!(look().await.remaining, 2);
        }
        stand.allows("ada", &policy).await;
        stand.allows("ada", &policy).await;
        assert!(look().await.retry_after.is_some());
    }
}

async fn gcra_gives_back_one_by_one(stand: Stand) {
    let policy = stand.gcra(4);
    stand.uses_up("ada", &policy).await;
    assert!(!stand.allows("ada", &policy).await);
    for _ in 0..3 {
        stand.pass(0.26).await;
        assert!(stand.allows("ada", &policy).await);
        assert!(!stand.allows("ada", &policy).await);
    }
    stand.pass(1.0).await;
    stand.uses_up("ada", &policy).await;
    assert!(!stand.allows("ada", &policy).await);
}

async fn what_gcra_says_about_waiting_is_exact(stand: Stand) {
    let policy = stand.gcra(4);
    let first = stand.ask("ada", &[&policy]).await.standings.remove(0);
    assert_eq!(first.remaining, 3);
    assert!(first.reset <= stand.window / 4);
    for _ in 0..3 {
        stand.allows("ada", &policy).await;
    }
    let refused = stand.ask("ada", &[&policy]).await.standings.remove(0);
    let wait = refused.retry_after.unwrap();
    assert!(wait <= stand.window / 4 && refused.reset >= wait && refused.reset <= stand.window);

    tokio::time::sleep(wait).await;
    assert!(stand.allows("ada", &policy).await);
}

async fn however_many_ask_at_once_only_the_quota_is_allowed(stand: Stand) {
    for policy in [stand.fixed(10), stand.gcra(10)] {
        let asking = (0..50).map(|_| stand.allows("ada", &policy));
        assert_eq!(join_all(asking).await.into_iter().filter(|allowed| *allowed).count(), 10);
    }
}

/// Waits between requests, in milliseconds, that crowd around a window of 1 s.
fn schedule() -> impl Strategy<Value = Vec<u64>> {
    let wait = prop_oneof![3 => Just(0), 3 => 0..50_u64, 2 => 50..400_u64, 1 => 900..1100_u64];
    prop::collection::vec(wait, 1..120)
}

/// The moments at which one subject was allowed something.
fn admitted(schedule: &[u64], policy: &Arc<Policy>) -> Vec<Duration> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let (limiter, began) = (LocalLimiter::new(), Instant::now());
        let mut admitted = Vec::new();
        for wait in schedule {
            tokio::time::advance(Duration::from_millis(*wait)).await;
            if limiter.decide(&checks("ada", &[policy])).await.is_allowed() {
                admitted.push(began.elapsed());
            }
        }
        admitted
    })
}

fn policy_of_a_second(quota: u32, strategy: Counting) -> Arc<Policy> {
    let window = Duration::from_secs(1);
    Arc::new(Policy { name: "tried".into(), quota, window, scope: Scope::Ip, strategy })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_fixed_window_ever_admits_more_than_its_quota(schedule in schedule(), quota in 1..8_u32) {
        let policy = policy_of_a_second(quota, Counting::FixedWindow);
        let mut window: Option<(Duration, u32)> = None;
        for moment in admitted(&schedule, &policy) {
            let (began, used) = window.filter(|(began, _)| moment < *began + policy.window).unwrap_or((moment, 0));
            prop_assert!(used < quota, "one too many at {moment:?}");
            window = Some((began, used + 1));
        }
    }

    #[test]
    fn gcra_never_admits_more_than_its_burst_and_rate(schedule in schedule(), quota in 1..8_u32) {
        let policy = policy_of_a_second(quota, Counting::Gcra);
        let moments = admitted(&schedule, &policy);
        for (first, began) in moments.iter().enumerate() {
            for (last, ended) in moments.iter().enumerate().skip(first) {
                let came_back = (*ended - *began).as_secs_f64() * f64::from(quota);
                let most = f64::from(quota) + came_back + 0.001; // its period is cut to whole nanoseconds
                prop_assert!((last - first + 1) as f64 <= most, "between {began:?} and {ended:?}");
            }
        }
    }

    #[test]
    fn whoever_waits_as_told_is_allowed(schedule in schedule(), quota in 1..8_u32, fixed: bool) {
        let policy = policy_of_a_second(quota, if fixed { Counting::FixedWindow } else { Counting::Gcra });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let kept = runtime.block_on(async {
            let limiter = LocalLimiter::new();
            for wait in &schedule {
                tokio::time::advance(Duration::from_millis(*wait)).await;
                let verdict = limiter.decide(&checks("ada", &[&policy])).await;
                if let Some(wait) = verdict.standings[0].retry_after {
                    tokio::time::advance(wait).await;
                    if !limiter.decide(&checks("ada", &[&policy])).await.is_allowed() {
                        return false;
                    }
                }
            }
            true
        });
        prop_assert!(kept);
    }
}
