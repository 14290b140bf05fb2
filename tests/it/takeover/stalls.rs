//! A replica that only seemed dead: what it still wants to say comes too late, and it understands.

use polylogue::telemetry::metrics::AppendOutcome;

use super::fleet::{Fleet, ask, names};
use crate::support::replicas::applied;
use crate::support::{eventually, says};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_wakes_up_too_late_stops_and_its_readers_follow_the_new_one() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.replica("a").await, fleet.replica("b").await);
    a.model.rules([says("guide", ["The ", "first ", "answer."]).pausing_after(2)]);
    b.model.rules([says("guide", ["The ", "second."])]);
    let mut on_a = a.stream(ask("c", &["guide"])).await;
    let turn = on_a.turn();
    let mut client = on_a.until("reply.delta").await;
    client.extend(on_a.until("reply.delta").await);

    let stall = a.stall();
    let ended = b.ended(&turn).await;
    assert_eq!(ended["replies"][0]["content"], "The second.");
    let log = b.log(&turn).await;
    drop(stall);

    client.extend(on_a.rest().await);
    assert_eq!(applied(&client), applied(&log));
    assert_eq!(names(&client).last(), Some(&"turn.completed"));
    eventually("its model calls are stopped", async || a.model.stats().in_flight == 0).await;
    assert_eq!(a.model.stats().cancelled, 1);
    let told = [AppendOutcome::Fenced, AppendOutcome::Ended];
    let appends = &a.app.services().metrics.turn_log.appends;
    eventually("it was told", async || told.iter().any(|outcome| appends.get(&(*outcome,)) == 1)).await;

    // Whatever the late owner still had to say is nowhere.
    assert_eq!(b.log(&turn).await, log);
    assert_eq!(a.turn(&turn).await, b.turn(&turn).await);
    let messages = a.get("/api/v1/conversations/c/messages").await.body;
    assert_eq!(messages["data"].as_array().unwrap().len(), 2);
    assert_eq!(messages["data"][1]["content"], "The second.");
    assert_eq!((a.takeovers(), b.takeovers()), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_wakes_up_while_the_new_one_still_runs_is_fenced() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.replica("a").await, fleet.replica("b").await);
    a.model.rules([says("guide", ["The ", "first."]).pausing_after(1)]);
    b.model.rules([says("guide", ["The ", "second."]).pausing_after(1)]);
    let mut on_a = a.stream(ask("c", &["guide"])).await;
    let turn = on_a.turn();
    let mut client = on_a.until("reply.delta").await;

    let stall = a.stall();
    let mut on_b = b.resume(&turn, &client.last().unwrap().id).await;
    on_b.until("reply.delta").await;
    drop(stall);

    let appends = &a.app.services().metrics.turn_log.appends;
    eventually("it is fenced", async || appends.get(&(AppendOutcome::Fenced,)) == 1).await;
    eventually("its model calls are stopped", async || a.model.stats().cancelled == 1).await;
    b.model.go_on();
    let rest = on_b.rest().await;
    client.extend(on_a.rest().await);
    assert_eq!(client.last(), rest.last());
    // The last word before the standstill may not have reached the log; the reset makes it good.
    assert_eq!(applied(&client), applied(&b.log(&turn).await));
    assert_eq!(applied(&client)["guide"]["content"], "The second.");
}
