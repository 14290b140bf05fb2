//! A replica is killed in the middle of turns: those who follow from elsewhere see them go on, and nothing is lost.

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use super::Service;
use super::witness::{Witness, ask, count, epochs, log, next_owner};
use crate::support::replicas::{Tale, applied};
use crate::support::{Answer, says};

/// The historian has finished, the skeptic has said two words.
fn is_half_answered(seen: &[crate::support::SseEvent]) -> bool {
    count(seen, "reply.completed", "historian") == 1 && count(seen, "reply.delta", "skeptic") == 2
}

/// Three replicas whose skeptic hesitates.
async fn hesitant(settings: &[&str]) -> Service {
    let service = Service::start(settings).await;
    let hesitates = says("skeptic", ["But ", "which ", "Troy?"]).pausing_after(2);
    service.model.rules([says("historian", ["Yes."]), hesitates]);
    service
}

#[tokio::test]
async fn readers_elsewhere_see_the_turn_go_on_and_its_own_readers_find_it_there() {
    let service = hesitant(&[]).await;
    let [a, b, c] = service.replicas.first_chunk().unwrap();
    let turn = a.client.start_turn(ask("c")).await;
    let [mut own_stream, mut own_socket] = Witness::at_both(&a.client, &turn).await;
    let [mut stream, mut socket] = Witness::at_both(&b.client, &turn).await;
    for witness in [&mut own_stream, &mut own_socket, &mut stream, &mut socket] {
        witness.until(is_half_answered).await;
    }
    service.model.rules([says("skeptic", ["Which ", "one?"])]);

    a.kill_9();

    let [own_stream, own_socket] = [own_stream.until_cut().await, own_socket.until_cut().await];
    let resumed =
        [Witness::by_stream(&b.client, own_stream).await, Witness::by_socket(&c.client, own_socket).await];
    let tales = join_all([stream, socket].into_iter().chain(resumed).map(Witness::until_the_end)).await;
    let log = log(c, &turn).await;
    for tale in &tales {
        tale.must_agree_with(&log);
        let replies = applied(&tale.seen);
        assert_eq!(
            [&replies["historian"]["content"], &replies["skeptic"]["content"]],
            ["Yes.", "Which one?"]
        );
    }
    let resets: Vec<_> = log.iter().filter(|event| event.name == "reply.reset").collect();
    assert_eq!((resets.len(), &resets[0].data["persona"]), (1, &json!("skeptic")));
    assert_eq!(service.model.stats().requests, 3, "the historian was not asked again");
    assert_eq!(b.ended(&turn).await, c.ended(&turn).await);
}

#[tokio::test]
async fn what_only_the_owner_showed_is_taken_back() {
    // No piece of text is written before the owner dies.
    let service = hesitant(&["turns.flush_interval=60s"]).await;
    let [a, b, c] = service.replicas.first_chunk().unwrap();
    let turn = a.client.start_turn(ask("c")).await;
    let own = Witness::at_both(&a.client, &turn).await;
    let elsewhere = Witness::at_both(&b.client, &turn).await;
    let mut cut = Vec::new();
    for mut witness in own {
        witness.until(is_half_answered).await;
        cut.push(witness);
    }
    service.model.rules([says("skeptic", ["Which ", "one?"])]);

    a.kill_9();

    let cut = join_all(cut.into_iter().map(Witness::until_cut)).await;
    let mut readers = Vec::from(elsewhere);
    for tale in cut {
        readers.push(Witness::by_stream(&c.client, tale).await);
    }
    let tales = join_all(readers.into_iter().map(Witness::until_the_end)).await;
    let log = log(b, &turn).await;
    tales.iter().for_each(|tale| tale.must_agree_with(&log));
}

#[tokio::test]
async fn a_caller_who_waits_elsewhere_is_answered() {
    let service = hesitant(&[]).await;
    let [a, b, _] = service.replicas.first_chunk().unwrap();
    let wait = |client: &crate::support::Client| {
        let request = client.client.post(client.url("/api/v1/chat")).header("Idempotency-Key", "k");
        request.json(&ask("c")).send()
    };
    let (own, elsewhere) = (wait(&a.client), wait(&b.client));
    let begun = async {
        super::witness::in_time("both are half answered", async || service.model.stats().requests == 2).await;
        service.model.rules([says("skeptic", ["Which ", "one?"])]);
        a.kill_9();
    };
    let (own, elsewhere, ()) = tokio::join!(own, elsewhere, begun);
    // Whether it had its answer's headers or nothing at all, it asks again with its key.
    assert!(own.is_err());
    let answer = Answer::of(elsewhere.unwrap()).await;
    let again = Answer::of(wait(&b.client).await.unwrap()).await;
    assert_eq!((answer.status, &answer.body["status"]), (200, &json!("completed")));
    assert_eq!((again.header("idempotent-replayed"), &again.body), ("true", &answer.body));
}

#[tokio::test]
async fn how_long_a_takeover_takes() {
    for lease in [["turns.beat=200ms", "turns.lease=1s"], ["turns.beat=1s", "turns.lease=10s"]] {
        let service = hesitant(&lease).await;
        let [a, b, _] = service.replicas.first_chunk().unwrap();
        let turn = a.client.start_turn(ask("c")).await;
        let tale = Tale { turn: turn.clone(), ..Tale::default() };
        let mut reader = Witness::by_stream(&b.client, tale).await;
        reader.until(is_half_answered).await;
        let killed = Instant::now();
        a.kill_9();
        reader.until(|seen| count(seen, "reply.reset", "skeptic") == 1).await;
        eprintln!("kill -9 to the first event of the new epoch, {lease:?}: {:?}", killed.elapsed());
        next_owner(&service, &turn, 1).await;
        service.model.go_on();
        let tale = reader.until_the_end().await;
        tale.must_agree_with(&log(b, &turn).await);
        assert_eq!(epochs(&tale.seen), 2);
    }
}
