//! Redis is well, and the way to it is not.

use std::sync::Arc;
use std::time::Duration;

use polylogue::config::Config;
use polylogue::redis::{Call, Redis};
use polylogue::shutdown::Shutdown;
use polylogue::simulator::Rule;
use polylogue::telemetry::metrics::{Metrics, RedisOperation};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::sleep;

use super::Stage;
use crate::support::redis::{Mode, Proxy, RedisServer};
use crate::support::replicas::Replicas;
use crate::support::{eventually, span};

/// A Redis, and a way to it for each replica.
struct Ways {
    redis: RedisServer,
    proxies: [Proxy; 3],
}

impl Ways {
    async fn lay() -> Self {
        let redis = RedisServer::start().await;
        let address = redis.address();
        let proxies = [Proxy::to(&address).await, Proxy::to(&address).await, Proxy::to(&address).await];
        Self { redis, proxies }
    }

    async fn stage(&self, tokens: u32, settings: &[&str]) -> Stage {
        let urls = self.proxies.each_ref().map(|proxy| self.redis.url_by(&proxy.address()));
        Stage::of(urls.each_ref().map(String::as_str), tokens, settings).await
    }

    fn all(&self, mode: &Mode) {
        self.proxies.iter().for_each(|proxy| proxy.set(mode.clone()));
    }

    async fn has_each_turn_once(&self, stage: &Stage) {
        assert_eq!(self.redis.keys("*:turn:*").await.len(), stage.told().len());
    }
}

fn slow(milliseconds: u64) -> Mode {
    let by = Duration::from_millis(milliseconds);
    Mode::Delay { by, jitter: by / 2 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_redis_is_waited_for_and_one_that_is_too_slow_is_not() {
    let ways = Ways::lay().await;
    let mut stage = ways.stage(120, &["redis.timeout=500ms", "redis.limit_timeout=500ms"]).await;
    ways.all(&slow(50));
    stage.tell().await;
    stage.is_well().await;

    // What is asked now is executed, and answered when nobody waits for it any more.
    ways.all(&slow(600));
    stage.is_degraded().await;
    stage.owners_go_on(0..3).await;
    stage.tell_alone().await;
    ways.all(&Mode::Pass);

    stage.must_balance().await;
    stage.nobody_took_a_turn().await;
    ways.has_each_turn_once(&stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_break_all_at_once_are_no_fault() {
    let ways = Ways::lay().await;
    let (mut settings, metrics, shutdown) =
        (Config::default().redis, Arc::new(Metrics::new()), Shutdown::new());
    settings.url = Some(ways.redis.url_by(&ways.proxies[0].address()).into());
    settings.timeout = span(5_000);
    let redis = Redis::new(&settings, &[], &metrics, &shutdown).unwrap().unwrap();
    let read = Call::command(RedisOperation::Read, "GET", "a");
    let all_are_up = async || redis.status()["connections"]["up"] == settings.pool_size.get();
    for _ in 0..10 {
        eventually("all connections are up", all_are_up).await;
        ways.proxies[0].cut();
        // Whichever it takes first is dead, and nobody knows yet.
        assert_eq!(redis.run::<Option<String>>(&read).await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_break_at_random_break_no_turn() {
    let ways = Ways::lay().await;
    // A replica that is cut off for longer than the lease loses its turns, and rightly so; not what this is about.
    let mut stage = ways.stage(60, &["turns.lease=60s"]).await;
    let mut rng = StdRng::seed_from_u64(Replicas::seed());
    let cuts = async {
        loop {
            let proxy = ways.proxies.choose(&mut rng).unwrap();
            if rng.random() {
                proxy.set(Mode::CutNextAnswer { after: rng.random_range(0..20) });
            } else {
                proxy.cut();
            }
            sleep(Duration::from_millis(rng.random_range(10..120))).await;
        }
    };
    let telling = async {
        for _ in 0..3 {
            stage.tell().await;
        }
        stage.all_have_ended().await;
    };
    tokio::select! {
        never = cuts => never,
        () = telling => {}
    }
    ways.all(&Mode::Pass);
    stage.must_balance().await;
    stage.nobody_took_a_turn().await;
    ways.has_each_turn_once(&stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_to_any_step_of_a_turn_repeats_nothing() {
    let ways = Ways::lay().await;
    let mut stage = ways.stage(5, &[]).await;
    let accept = ways.script(include_str!("../../../../src/turnlog/remote/accept.lua")).await;
    let append = ways.script(include_str!("../../../../src/turnlog/remote/write.lua")).await;
    for part in [accept, append, "routing.decided".into(), "reply.completed".into(), "turn.completed".into()]
    {
        ways.all(&Mode::CutAnswerTo { part: part.clone() });
        stage.tell().await;
        stage.all_have_ended().await;
        let were_lost = async || ways.proxies.iter().all(|proxy| proxy.mode() == Mode::Pass);
        eventually(&format!("an answer to {part} was lost on each way"), were_lost).await;
    }
    stage.must_balance().await;
    stage.nobody_took_a_turn().await;
    ways.has_each_turn_once(&stage).await;
}

impl Ways {
    /// What stands for a script in a command; Redis knows it from here on.
    async fn script(&self, source: &str) -> String {
        self.redis.command(&["SCRIPT", "LOAD", source]).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_whose_answer_is_lost_is_made_good() {
    let ways = Ways::lay().await;
    let mut stage = ways.stage(150, &[]).await;
    let take_over = ways.script(include_str!("../../../../src/turnlog/remote/take_over.lua")).await;
    let place = stage.begin(0).await;
    stage.follow(place, 1).await;
    stage.owners_go_on(0..1).await;
    stage.speak(20);
    ways.all(&Mode::CutAnswerTo { part: take_over });
    stage.replicas[0].kill_9();
    stage.must_balance().await;
    assert_eq!((stage.takeovers().await, stage.model.stats().requests), (1.0, 2));
    ways.has_each_turn_once(&stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_alone_has_no_redis_loses_its_turns_and_no_word() {
    let ways = Ways::lay().await;
    let mut stage = ways.stage(20, &[]).await;
    let (lonely, way) = (0, &ways.proxies[0]);
    // What it says does not end; what others say instead does.
    stage.model.rules([Rule::says(["Once ", "upon ", "a time."]).pausing_after(2)]);
    stage.begin(lonely).await;
    stage.follow(0, 1).await;
    stage.told()[0].on_owner().has_seen("reply.delta").await;
    stage.model.rules([]);
    stage.tell().await;
    stage.have_ended(1..4).await;
    way.set(Mode::Refuse);
    way.cut();
    let taken = async || stage.takeovers().await == 1.0;
    eventually("another one goes on with its turn", taken).await;
    stage.begin(lonely).await;
    way.set(Mode::Pass);
    stage.must_balance().await;
    assert_eq!(stage.replicas[lonely].metric("turn_takeovers_total{reason=\"died\"}").await, 0.0);
    stage.has_logged("turn_fenced", 1).await;
    ways.has_each_turn_once(&stage).await;
}
