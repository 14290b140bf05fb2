//! Replicas disagree about the time: nobody who asks them can tell.

use futures_util::future::join_all;
use polylogue::words::{Timestamp, TurnId};
use serde_json::json;

use super::witness::{Witness, ask, count, epochs, in_time, log};
use crate::support::redis::RedisServer;
use crate::support::replicas::{Plan, Replicas};
use crate::support::{model, says};

/// One clock is right, one fast, one slow.
const CLOCKS: [&str; 3] = ["+0s", "+120s", "-120s"];

/// Who begins a turn, and who goes on with it.
const WAYS: [[&str; 2]; 4] = [["+120s", "-120s"], ["-120s", "+120s"], ["+0s", "-120s"], ["+120s", "+0s"]];

#[tokio::test]
async fn a_turn_that_moves_between_wrong_clocks_is_ended_neither_early_nor_late() {
    for way in WAYS {
        let (simulator, model) = model().await;
        let redis = RedisServer::start().await;
        let plan = Plan::on(&simulator).redis(&redis.url()).set("turns.lease=1s");
        // One turn has time enough on a busy machine, and much less than the clocks differ by; the other one not.
        let plans = way.map(|clock| plan.clone().set("turns.deadline=50s").clock(clock));
        let replicas = Replicas::of(plans.into()).await;
        model.rules([says("skeptic", ["But ", "which?"]).pausing_after(1)]);
        let turn = replicas[0].client.start_turn(ask("c")).await;
        let mut readers = Witness::at_both(&replicas[1].client, &turn).await;
        for reader in &mut readers {
            reader.until(|seen| count(seen, "reply.delta", "skeptic") == 1).await;
        }
        replicas[0].kill_9();
        for reader in &mut readers {
            reader.until(|seen| count(seen, "reply.delta", "skeptic") == 2).await;
        }
        model.go_on();
        for tale in join_all(readers.map(Witness::until_the_end)).await {
            let log = log(&replicas[1], &turn).await;
            tale.must_agree_with(&log);
            assert_eq!((epochs(&log), log.last().unwrap().name.as_str()), (2, "turn.completed"), "{way:?}");
        }
    }
}

#[tokio::test]
async fn a_turns_deadline_is_kept_by_its_next_owner() {
    for way in WAYS {
        let (simulator, model) = model().await;
        let redis = RedisServer::start().await;
        let plan = Plan::on(&simulator).redis(&redis.url()).set("turns.lease=1s").set("turns.deadline=4s");
        let plan = plan.set("llm.first_token_timeout=4s");
        let replicas = Replicas::of(way.map(|clock| plan.clone().clock(clock)).into()).await;
        model.rules([says("skeptic", ["But ", "which?"]).pausing_after(1)]);
        let turn = replicas[0].client.start_turn(json!({"message": "?", "personas": ["skeptic"]})).await;
        let [stream, socket] = Witness::at_both(&replicas[1].client, &turn).await;
        replicas[0].kill_9();
        for tale in [stream.until_the_end().await, socket.until_the_end().await] {
            tale.must_agree_with(&log(&replicas[1], &turn).await);
            let end = tale.seen.last().unwrap();
            assert_eq!(
                (end.name.as_str(), &end.data["error"]["code"]),
                ("turn.failed", &json!("model_timeout")),
                "{way:?}"
            );
        }
    }
}

#[tokio::test]
async fn turns_are_in_the_order_in_which_they_were_asked_whoever_was_asked() {
    let (simulator, _) = model().await;
    let redis = RedisServer::start().await;
    let plan = Plan::on(&simulator).redis(&redis.url());
    let replicas = Replicas::of(CLOCKS.map(|clock| plan.clone().clock(clock)).into()).await;
    for replica in replicas.iter() {
        let beats = "redis_command_duration_seconds_count{operation=\"beat\",outcome=\"ok\"}";
        in_time("it knows Redis' clock", async || replica.metric(beats).await > 0.0).await;
    }
    let mut turns = Vec::new();
    for at in [1, 2, 0, 2, 1, 0, 1, 2] {
        let turn = replicas[at].client.start_turn(ask("c")).await;
        let [stream, socket] = Witness::at_both(&replicas[(at + 1) % 3].client, &turn).await;
        for tale in [stream.until_the_end().await, socket.until_the_end().await] {
            tale.must_agree_with(&log(&replicas[(at + 2) % 3], &turn).await);
        }
        let off = turn.parse::<TurnId>().unwrap().started_ms().abs_diff(Timestamp::now().as_millis());
        assert!(off < 60_000, "its id is dated by Redis' clock: {off} ms");
        turns.push(turn);
    }
    assert!(turns.is_sorted(), "{turns:?}");
}

#[tokio::test]
async fn nobody_who_lives_is_taken_for_dead_because_of_a_clock() {
    let (simulator, model) = model().await;
    let redis = RedisServer::start().await;
    let plan = Plan::on(&simulator).redis(&redis.url()).set("turns.lease=5s");
    let replicas = Replicas::of(CLOCKS.map(|clock| plan.clone().clock(clock)).into()).await;
    model.rules([says("skeptic", ["But ", "which?"]).pausing_after(1)]);
    let mut readers = Vec::new();
    for (at, replica) in replicas.iter().enumerate() {
        let turn = replica.client.start_turn(ask(&format!("c{at}"))).await;
        readers.extend(Witness::at_both(&replicas[(at + 1) % 3].client, &turn).await);
    }
    // Longer than the lease by far, as everybody counts it.
    let beats = "redis_command_duration_seconds_count{operation=\"beat\",outcome=\"ok\"}";
    for replica in replicas.iter() {
        in_time("it looked around for two leases", async || replica.metric(beats).await > 50.0).await;
    }
    model.go_on();
    for tale in join_all(readers.into_iter().map(Witness::until_the_end)).await {
        tale.must_agree_with(&log(&replicas[0], &tale.turn).await);
        assert_eq!((epochs(&tale.seen), tale.seen.last().unwrap().name.as_str()), (1, "turn.completed"));
    }
}
