//! A replica stands still for longer than the lease and then goes on: it is no owner any more, and its readers follow.

use futures_util::future::join_all;

use super::Service;
use super::witness::{Witness, ask, count, epochs, in_time, log, next_owner};
use crate::support::says;

#[tokio::test]
async fn a_replica_that_stood_still_is_fenced_and_its_readers_follow_the_new_owner() {
    let service = Service::start(&[]).await;
    let hesitates = says("skeptic", ["But ", "which ", "Troy?"]).pausing_after(2);
    service.model.rules([says("historian", ["Yes."]), hesitates.clone()]);
    let [a, b, c] = service.replicas.first_chunk().unwrap();
    let turn = a.client.start_turn(ask("c")).await;
    let mut readers = Vec::from(Witness::at_both(&a.client, &turn).await);
    readers.extend(Witness::at_both(&b.client, &turn).await);
    for reader in &mut readers {
        reader.until(|seen| count(seen, "reply.delta", "skeptic") == 2).await;
    }
    // What the old owner asked for ends while it stands still, so that it wakes up with a whole answer in its hands.
    service.model.rules([says("skeptic", ["Which ", "one?"]).pausing_after(1)]);
    a.pause();
    service.model.go_on();
    let (owner, _) = next_owner(&service, &turn, 1).await;
    assert_ne!(owner, 0);

    a.go_on();
    in_time("it is told", async || !a.logged("turn_fenced").is_empty()).await;
    for reader in &mut readers {
        reader.until(|seen| count(seen, "reply.reset", "skeptic") == 1).await;
    }
    in_time("the new owner speaks", async || service.model.stats().in_flight == 1).await;
    service.model.go_on();

    let tales = join_all(readers.into_iter().map(Witness::until_the_end)).await;
    for replica in [a, b, c] {
        let log = log(replica, &turn).await;
        assert_eq!(epochs(&log), 2);
        tales.iter().for_each(|tale| tale.must_agree_with(&log));
    }
    assert_eq!(a.metric("turns_total{outcome=\"completed\"}").await, 0.0);
    // It is a replica like any other again.
    service.model.rules([]);
    let next = a.client.start_turn(ask("c")).await;
    assert_eq!(b.ended(&next).await["status"], "completed");
}

#[tokio::test]
async fn a_replica_that_stood_still_for_a_moment_keeps_its_turns() {
    let service = Service::start(&["turns.lease=30s"]).await;
    service.model.rules([says("skeptic", ["But ", "which ", "Troy?"]).pausing_after(2)]);
    let [a, b, _] = service.replicas.first_chunk().unwrap();
    let turn = a.client.start_turn(ask("c")).await;
    let mut readers = Vec::from(Witness::at_both(&b.client, &turn).await);
    for reader in &mut readers {
        reader.until(|seen| count(seen, "reply.delta", "skeptic") == 2).await;
    }
    let beats =
        async || b.metric("redis_command_duration_seconds_count{operation=\"beat\",outcome=\"ok\"}").await;
    let before = beats().await;
    a.pause();
    in_time("others looked for it several times", async || beats().await > before + 10.0).await;
    a.go_on();
    service.model.go_on();
    for tale in join_all(readers.into_iter().map(Witness::until_the_end)).await {
        tale.must_agree_with(&log(a, &turn).await);
        assert_eq!(epochs(&tale.seen), 1);
    }
}
