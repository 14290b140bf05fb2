//! A turn that started on one replica is followed, cancelled and finished on any other.

use futures_util::future::join_all;
use polylogue::simulator::Rule;
use serde_json::{Value, json};

use super::Service;
use crate::support::replicas::{Replicas, Wanderer};

const PERSONAS: [&str; 2] = ["guide", "skeptic"];

fn ask(conversation: &str) -> Value {
    json!({"message": "was Troy real?", "personas": PERSONAS, "conversation_id": conversation})
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
