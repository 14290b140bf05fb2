//! Much is left behind at once: turns by the hundred, and places for sockets.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Service;
use super::witness::{epochs, in_time, log};
use crate::support::redis::{Mode, Proxy, RedisServer};
use crate::support::replicas::{Plan, Replicas};
use crate::support::{Client, Socket, model, says};

/// Turns of the replica that dies: to take them all over takes longer than the lease where Redis is slow.
const TURNS: usize = 300;

fn ask(conversation: &str) -> serde_json::Value {
    json!({"message": "was Troy real?", "personas": ["skeptic"], "conversation_id": conversation})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_has_much_to_take_over_gives_signs_of_life() {
    let (simulator, model) = model().await;
    let redis = RedisServer::start().await;
    let far = Proxy::to(&redis.address()).await;
    far.set(Mode::Delay { by: Duration::from_millis(20), jitter: Duration::ZERO });
    let plan = Plan::on(&simulator).set("turns.lease=4s");
    let [near, slow] = [redis.url(), redis.url_by(&far.address())].map(|url| plan.clone().redis(&url));
    let replicas = Replicas::of(vec![near.clone(), near, slow]).await;
    model.rules([says("skeptic", ["But ", "which?"]).pausing_after(1)]);
    let kept = replicas[2].client.start_turn(ask("kept")).await;
    let begin = |number: usize| {
        let client = &replicas[0].client;
        async move { client.start_turn(ask(&format!("c{number}"))).await }
    };
    let turns: Vec<_> = stream::iter(0..TURNS).map(begin).buffered(20).collect().await;

    replicas[0].kill_9();

    let died = "turn_takeovers_total{reason=\"died\"}";
    in_time("all go on", async || {
        let taken = replicas[1].metric(died).await + replicas[2].metric(died).await;
        taken >= turns.len() as f64 && model.stats().in_flight == turns.len() as u64 + 1
    })
    .await;
    // Now those who were busy have looked around again, and would have missed whoever was silent.
    let beats = "redis_command_duration_seconds_count{operation=\"beat\",outcome=\"ok\"}";
    let before = replicas[1].metric(beats).await;
    in_time("it has looked for a lease", async || replicas[1].metric(beats).await > before + 25.0).await;
    model.go_on();
    for turn in turns.iter().chain([&kept]) {
        let log = log(&replicas[1], turn).await;
        let expected = if *turn == kept { 1 } else { 2 };
        assert_eq!((epochs(&log), log.last().unwrap().name.as_str()), (expected, "turn.completed"));
    }
}

/// Opens a socket, if there is a place for it.
async fn open(client: &Client) -> Option<Socket> {
    Socket::try_open(client.base.trim_start_matches("http://")).await.ok()
}

/// Sockets that answer what the server asks, each for as long as it does.
#[derive(Default)]
struct Staying(JoinSet<()>);

impl Staying {
    /// Opens so many, as far as there are places.
    async fn open(&mut self, client: &Client, most: usize) {
        for _ in 0..most {
            let Some(mut socket) = open(client).await else { return };
            self.0.spawn(async move { while let Some(Ok(_)) = socket.inner.next().await {} });
        }
    }

    /// How many are open.
    fn count(&mut self) -> usize {
        while self.0.try_join_next().is_some() {}
        self.0.len()
    }
}

#[tokio::test]
async fn the_places_of_a_killed_replica_return_and_those_of_others_stay_taken() {
    let settings =
        ["websocket.max_per_client=5", "websocket.heartbeat_interval=2s", "websocket.heartbeat_timeout=1s"];
    let service = Service::start(&settings).await;
    let [a, b, c] = service.replicas.first_chunk().unwrap();
    let [mut lost, mut kept, mut new] = [(); 3].map(|()| Staying::default());
    lost.open(&a.client, 3).await;
    kept.open(&b.client, 3).await;
    assert_eq!((lost.count(), kept.count()), (3, 2), "there are five places in all");
    assert!(open(&c.client).await.is_none());

    a.kill_9();

    let killed = Instant::now();
    in_time("three places are free again", async || {
        new.open(&c.client, 1).await;
        new.count() == 3
    })
    .await;
    eprintln!("the places of a killed replica returned after {:?}, of 8 s", killed.elapsed());
    for replica in [b, c] {
        assert!(open(&replica.client).await.is_none(), "those of others stay taken");
    }
    assert_eq!((kept.count(), new.count()), (2, 3), "nobody was thrown out");
}
