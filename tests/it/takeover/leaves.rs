//! A replica that stops as planned leaves nothing undone that somebody else can do.

use serde_json::json;

use super::fleet::{Fleet, ask, names};
use crate::support::replicas::applied;
use crate::support::{eventually, says, span};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_that_outlast_the_grace_go_on_elsewhere_and_their_readers_hear_the_end() {
    let fleet = Fleet::with(|config| config.server.grace = span(50));
    let (a, b) = (fleet.replica("a").await, fleet.replica("b").await);
    let sees_both = async || a.app.services().metrics.leases.replicas.get(&()) == 2;
    eventually("the replicas know each other", sees_both).await;
    a.model.rules([says("guide", ["The ", "first."]).pausing_after(1)]);
    b.model.rules([says("guide", ["The ", "second."])]);
    let mut on_a = a.stream(ask("c", &["guide"])).await;
    let turn = on_a.turn();
    let mut client = on_a.until("reply.delta").await;

    let stopped = a.stop().await;

    assert!(!stopped, "it had to be handed over");
    client.extend(on_a.rest().await);
    assert_eq!(names(&client).last(), Some(&"turn.completed"));
    assert_eq!(client, b.log(&turn).await);
    assert_eq!(applied(&client)["guide"]["content"], "The second.");
    assert_eq!((b.turn(&turn).await["status"].clone(), b.takeovers()), (json!("completed"), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_dies_while_its_turns_finish_is_missed() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.replica("a").await, fleet.replica("b").await);
    a.model.rules([says("guide", ["The ", "first."]).pausing_after(1)]);
    b.model.rules([says("guide", ["The ", "second."])]);
    let mut on_a = a.stream(ask("c", &["guide"])).await;
    let turn = on_a.turn();
    on_a.until("reply.delta").await;
    let closing = a.app.services().shutdown.closing();
    closing.cancel();
    let sees_both = async || b.app.services().metrics.leases.replicas.get(&()) == 2;
    eventually("it still gives signs of life", sees_both).await;

    a.crash();

    assert_eq!(b.ended(&turn).await["replies"][0]["content"], "The second.");
    assert_eq!(b.takeovers(), 1);
}
