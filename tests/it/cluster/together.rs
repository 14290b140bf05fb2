//! A turn that started on one replica is followed, cancelled and finished on any other.

use futures_util::future::join_all;
use polylogue::simulator::Rule;
use serde_json::{Value, json};

use super::Service;
use crate::support::eventually;
use crate::support::replicas::{Ledger, Replicas, Wanderer};

const PERSONAS: [&str; 2] = ["guide", "skeptic"];

fn ask(conversation: &str) -> Value {
    json!({"message": "was Troy real?", "personas": PERSONAS, "conversation_id": conversation})
}

#[tokio::test]
async fn all_tell_the_same_history() {
    let service = Service::start(&[]).await;
    let path = "/api/v1/conversations/c/messages";
    for replica in service.replicas.iter() {
        let answer = replica.client.post("/api/v1/chat", ask("c")).await;
        assert_eq!((answer.status, &answer.body["status"]), (200, &json!("completed")), "{answer:?}");
        let note = json!({"role": "user", "content": "by the way"});
        assert_eq!(replica.client.post(path, note).await.status, 201);
    }
    let histories = join_all(service.replicas.iter().map(|replica| replica.client.get(path))).await;
    assert_eq!(histories[0].body["data"].as_array().unwrap().len(), 12);
    for history in &histories[1..] {
        assert_eq!(history.body, histories[0].body);
    }
    assert!(!service.redis.keys("polylogue:*").await.is_empty(), "it is in Redis");
}

#[tokio::test]
async fn a_turn_is_followed_from_anywhere_and_everybody_sees_the_same() {
    let service = Service::start(&[]).await;
    service.model.rules([Rule::says((0..100).map(|number| format!("{number} ")))]);
    service.model.change(|settings| settings.token_gap_ms = 5);
    let (seed, addresses) = (Replicas::seed(), service.replicas.addresses());
    let turn = service.replicas[0].client.start_turn(ask("c")).await;

    let mut wanderers: Vec<_> = (0..10).map(|number| Wanderer::new(seed ^ number, &addresses)).collect();
    let tales = join_all(wanderers.iter_mut().map(|wanderer| wanderer.follow(&turn))).await;

    for replica in service.replicas.iter() {
        let log = replica.client.resume(&turn, "0-0").await.rest().await;
        tales.iter().for_each(|tale| tale.must_agree_with(&log));
        assert_eq!(replica.turn(&turn).await, service.replicas[0].turn(&turn).await);
    }
}

#[tokio::test]
async fn a_turn_is_cancelled_from_another_replica_and_what_was_said_is_kept() {
    let service = Service::start(&[]).await;
    service.model.rules([Rule::says(["Once ", "upon ", "a time."]).pausing_after(2)]);
    let (owner, other) = (&service.replicas[0], &service.replicas[1]);
    let turn = owner.client.start_turn(ask("c")).await;
    let speaks = async || other.turn(&turn).await["replies"][0]["content"] == "Once upon ";
    eventually("the other one hears it", speaks).await;

    let cancelled = other.client.post(&format!("/api/v1/turns/{turn}/cancel"), Value::Null).await;

    assert!(matches!(cancelled.status, 200 | 202), "{cancelled:?}");
    assert_eq!(other.ended(&turn).await["status"], "cancelled");
    let messages = service.replicas[2].client.get("/api/v1/conversations/c/messages").await.body;
    assert_eq!(messages["data"][1]["content"], "Once upon ", "{messages}");
}

#[tokio::test]
async fn a_turn_of_a_killed_replica_is_finished_on_another() {
    let service = Service::start(&[]).await;
    service.model.rules([Rule::says((0..200).map(|number| format!("{number} ")))]);
    service.model.change(|settings| settings.token_gap_ms = 10);
    let (ledger, anywhere) = (Ledger::default(), service.replicas.anywhere(Replicas::seed()));
    let owner = &service.replicas[0];
    let turn = owner.client.start_turn(ask("c")).await;
    let mut wanderer = Wanderer::new(anywhere.number(), &service.replicas.addresses());

    let (tale, accepted) = tokio::join!(wanderer.follow(&turn), async {
        let speaks = async || owner.turn(&turn).await["replies"][0]["content"] != "";
        eventually("it speaks", speaks).await;
        owner.kill_9();
        ledger.ask(&anywhere, "another", &PERSONAS).await
    });

    let client = &service.replicas[1].client;
    tale.must_agree_with(&client.resume(&turn, "0-0").await.rest().await);
    assert_eq!(service.replicas[1].ended(&turn).await["status"], "completed");
    service.replicas[2].ended(&accepted.unwrap()).await;
    ledger.must_balance(client, 20).await;
}

#[tokio::test]
async fn the_same_key_sent_to_two_replicas_at_once_is_one_turn() {
    let service = Service::start(&[]).await;
    for number in 0..20 {
        let (key, body) = (format!("key-{number}"), ask(&format!("conversation-{number}")));
        let headers = [("Idempotency-Key", key.as_str())];
        let both = service.replicas[..2].iter();
        let answers =
            join_all(both.map(|replica| replica.client.post_with("/api/v1/turns", &headers, &body))).await;
        let turns: Vec<_> = answers.iter().map(|answer| (answer.status, answer.header("turn-id"))).collect();
        assert_eq!((turns[0].0, turns[0]), (202, turns[1]), "{answers:?}");
        service.replicas[2].ended(turns[0].1).await;
        let path = format!("/api/v1/conversations/conversation-{number}");
        assert_eq!(service.replicas[2].client.get(&path).await.body["message_count"], 3);
    }
}

#[tokio::test]
async fn a_conversation_answers_one_message_at_a_time_wherever_it_is_asked() {
    let service = Service::start(&[]).await;
    service.model.rules([Rule::says(["Once ", "upon ", "a time."]).pausing_after(2)]);
    let turn = service.replicas[0].client.start_turn(ask("c")).await;
    for replica in service.replicas.iter() {
        let refused = replica.client.post("/api/v1/turns", ask("c")).await;
        assert_eq!((refused.status, refused.code()), (409, "turn_in_progress"));
        assert_eq!(refused.body["turn_id"], turn.as_str());
    }
}
