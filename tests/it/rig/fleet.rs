//! Replicas as processes, alone as long as they have no Redis, and those who follow and count.

use std::time::{Duration, SystemTime};

use polylogue::simulator::Rule;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::timeout;

use crate::support::replicas::{Ledger, Plan, Replicas, Wanderer};
use crate::support::{Client, eventually, model};

fn ask(conversation: &str) -> Value {
    json!({"message": "tell me", "personas": ["guide"], "conversation_id": conversation})
}

#[tokio::test]
async fn replicas_start_are_killed_and_come_back_where_they_were() {
    let (model, _) = model().await;
    let replicas = Replicas::start(3, &model, None, &["server.grace=5s"]).await;
    let mut addresses = replicas.addresses();
    addresses.dedup();
    assert_eq!(addresses.len(), 3);
    let answer = replicas[0].client.post("/api/v1/chat", ask("c")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(replicas[0].metric("turns_total{outcome=\"completed\"}").await, 1.0);
    assert_eq!(replicas[0].status().await["readiness"], "ok");
    assert_eq!(replicas[0].logged("turn_finished").len(), 1);

    replicas[0].kill_9();
    assert_eq!(replicas[0].exit_code().await, None);
    assert!(replicas[0].client.client.get(replicas[0].client.url("/livez")).send().await.is_err());
    replicas[0].restart().await;
    assert_eq!(replicas[0].client.get("/livez").await.status, 200);
    assert_eq!(replicas[0].metric("turns_total{outcome=\"completed\"}").await, 0.0);
    assert_eq!(replicas[0].logged("application_ready").len(), 2);

    replicas[1].terminate();
    assert_eq!(replicas[1].exit_code().await, Some(0));
    let anywhere = replicas.anywhere(1);
    for _ in 0..20 {
        assert_ne!(anywhere.replica().address(), replicas[1].address());
    }
}

#[tokio::test]
async fn a_paused_replica_is_silent_and_goes_on() {
    let (model, _) = model().await;
    let replicas = Replicas::start(1, &model, None, &[]).await;
    replicas[0].pause();
    assert!(!replicas[0].is_live());
    let question = replicas[0].client.get("/livez");
    tokio::pin!(question);
    assert!(timeout(Duration::from_millis(100), &mut question).await.is_err());
    replicas[0].go_on();
    assert_eq!(question.await.status, 200);
    replicas[0].pause();
}

#[tokio::test]
async fn a_replica_may_have_a_wrong_clock() {
    let (model, _) = model().await;
    let replicas = Replicas::of(vec![Plan::on(&model), Plan::on(&model).clock("+120s")]).await;
    let seconds = async |client: &Client| {
        let turn = client.post("/api/v1/chat", ask("c")).await.body;
        let time = OffsetDateTime::parse(turn["created_at"].as_str().unwrap(), &Rfc3339).unwrap();
        (time - OffsetDateTime::from(SystemTime::now())).whole_seconds()
    };
    assert!(seconds(&replicas[0].client).await.abs() < 30);
    assert!((seconds(&replicas[1].client).await - 120).abs() < 30);
}

#[tokio::test]
async fn a_wandering_client_sees_a_turn_as_the_log_has_it() {
    let (model, controls) = model().await;
    controls.rules([Rule::says((0..200).map(|number| format!("{number} ")))]);
    controls.change(|settings| settings.token_gap_ms = 2);
    let replicas = Replicas::start(1, &model, None, &[]).await;
    let turn = replicas[0].client.start_turn(ask("c")).await;
    let mut addresses = replicas.addresses();
    // Nobody listens here.
    addresses.push("127.0.0.1:9".into());

    let tale = Wanderer::new(Replicas::seed(), &addresses).follow(&turn).await;

    let log = replicas[0].client.resume(&turn, "0-0").await.rest().await;
    tale.must_agree_with(&log);
    assert!(tale.visits > 10 && tale.turned_away.contains_key("not reached"), "{tale:?}");
}

#[tokio::test]
async fn a_ledger_finds_what_was_said_and_sees_what_is_gone() {
    let (model, controls) = model().await;
    let replicas = Replicas::start(1, &model, None, &[]).await;
    let (ledger, anywhere) = (Ledger::default(), replicas.anywhere(Replicas::seed()));
    // More than a conversation keeps in one, a cancelled turn in another.
    for _ in 0..8 {
        let turn = ledger.ask(&anywhere, "long", &["guide", "skeptic"]).await.unwrap();
        replicas[0].ended(&turn).await;
        assert!(ledger.tell(&anywhere, "long").await);
    }
    controls.rules([Rule::says(["Once ", "upon ", "a time."]).pausing_after(2)]);
    let turn = ledger.ask(&anywhere, "short", &["guide"]).await.unwrap();
    let speaks = async || replicas[0].turn(&turn).await["replies"][0]["content"] == "Once upon ";
    eventually("it speaks", speaks).await;
    ledger.must_balance(&replicas[0].client, 20).await;
    replicas[0].client.post(&format!("/api/v1/turns/{turn}/cancel"), Value::Null).await;
    replicas[0].ended(&turn).await;
    ledger.must_balance(&replicas[0].client, 20).await;
    assert_eq!(ledger.turns().len(), 9);

    let said = json!({"role": "assistant", "persona": "guide", "content": "And then?"});
    let added = replicas[0].client.post("/api/v1/conversations/long/messages", said).await;
    assert_eq!(added.status, 201, "{added:?}");
    let faults = ledger.faults(&replicas[0].client, 20).await;
    assert!(faults.len() == 1 && faults[0].ends_with("is nobody's"), "{faults:?}");

    replicas[0].restart().await;
    let faults = ledger.faults(&replicas[0].client, 20).await;
    assert!(faults.iter().any(|fault| fault.contains("is there 0 times")), "{faults:?}");
    assert!(faults.iter().any(|fault| fault.contains("cannot be read")), "{faults:?}");
}
