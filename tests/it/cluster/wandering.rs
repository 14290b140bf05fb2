//! Clients that never stay, replicas that never last: every turn is told exactly once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use polylogue::simulator::Rule;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::{Instant, sleep, timeout};

use super::witness::{count, epochs, log};
use crate::support::model;
use crate::support::redis::RedisServer;
use crate::support::replicas::{Anywhere, Ledger, Replicas, Tale, Wanderer};

/// How many turns are told.
const TURNS: u64 = 1_000;

/// How many at once.
const AT_ONCE: usize = 64;

/// Short enough that many die in the time this takes; a turn may lose any number of owners.
///
/// A machine that is too busy to answer in time must not look like a Redis that is away: what begins then is only where it
/// began, and a kill on top of that is the second fault at once.
const SETTINGS: [&str; 7] = [
    "redis.timeout=2s",
    "redis.breaker.failures=1000",
    "turns.beat=200ms",
    "turns.lease=1s",
    "turns.max_takeovers=1000000",
    "turns.flush_interval=50ms",
    "telemetry.log_filter=polylogue::app=info,warn",
];

/// Kills any of the replicas and starts it again, over and over; how often.
async fn kill_and_restart(replicas: &Replicas, seed: u64, is_over: &AtomicBool) -> usize {
    let (mut rng, mut kills) = (StdRng::seed_from_u64(seed), 0);
    while !is_over.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(rng.random_range(300..1_500))).await;
        let at = rng.random_range(0..replicas.len());
        replicas[at].kill_9();
        kills += 1;
        sleep(Duration::from_millis(rng.random_range(0..1_500))).await;
        replicas[at].restart().await;
    }
    kills
}

/// Begins a turn somewhere and follows it everywhere.
async fn tell(ledger: &Ledger, anywhere: &Anywhere<'_>, addresses: &[String], seed: u64) -> Tale {
    let turn = ledger.ask(anywhere, &format!("c{seed}"), &["guide", "skeptic"]).await;
    Wanderer::new(seed, addresses).follow(&turn.expect("nobody took it")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_turns_are_told_exactly_through_random_kills() {
    let (simulator, model) = model().await;
    let redis = RedisServer::start().await;
    let replicas = Replicas::start(3, &simulator, Some(&redis.url()), &SETTINGS).await;
    model.rules([Rule::says((0..8).map(|number| format!("{number} ")))]);
    model.change(|settings| settings.token_gap_ms = 100);
    let (seed, began) = (Replicas::seed(), Instant::now());
    let (addresses, anywhere, ledger) = (replicas.addresses(), replicas.anywhere(seed), Ledger::default());
    let is_over = AtomicBool::new(false);

    let told = stream::iter(0..TURNS).map(|number| tell(&ledger, &anywhere, &addresses, seed ^ number));
    let told = async {
        let tales = told.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
        is_over.store(true, Ordering::Relaxed);
        tales
    };
    let (tales, kills) = tokio::join!(told, kill_and_restart(&replicas, seed, &is_over));
    eprintln!("{TURNS} turns in {:?}, {kills} kills", began.elapsed());

    tokio::join!(compare(&replicas, &tales), ledger.must_balance(&replicas[0].client, 20));
    eprintln!("compared after {:?}", began.elapsed());
}

/// Every tale is what the log says, whichever replica is asked.
async fn compare(replicas: &Replicas, tales: &[Tale]) {
    let (mut moved, mut visits) = (0, 0);
    for (tale, replica) in tales.iter().zip(replicas.iter().cycle()) {
        let log = timeout(Duration::from_secs(20), log(replica, &tale.turn)).await.unwrap();
        tale.must_agree_with(&log);
        assert_eq!(log.last().unwrap().name, "turn.completed", "{log:#?}");
        for persona in ["guide", "skeptic"] {
            assert_eq!(count(&log, "reply.completed", persona), 1);
        }
        moved += usize::from(epochs(&log) > 1);
        visits += tale.visits;
    }
    eprintln!("{moved} turns lost an owner at least once; {visits} visits");
    assert!(moved > 0);
}
