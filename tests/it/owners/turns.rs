use poem::http::Method;
use polylogue::simulator::Rule;
use polylogue::telemetry::metrics::Takeover;
use serde_json::{Value, json};

use super::stage::{Answer, Replica, Service};
use super::{ADA, BOB, NOBODY, NOBODY_ELSE, OTHER_ADA, on_both};
use crate::support::eventually;

on_both![
    a_turn_is_not_known_to_anybody_else_on_any_replica,
    what_nobody_began_is_anybodys_who_is_nobody_and_knows_its_id,
    nobody_else_can_cancel_a_turn_or_find_its_conversation_busy,
    an_idempotency_key_is_its_principals_own_over_http,
    a_reference_is_its_principals_own_over_a_socket,
    a_turn_that_was_taken_over_is_still_its_principals,
    a_socket_neither_resumes_nor_cancels_what_is_anothers,
];

fn ask(conversation: &str) -> Value {
    json!({"message": "was Troy real?", "personas": ["guide"], "conversation_id": conversation})
}

/// Everything that somebody may ask about a turn.
async fn asked_about(replica: &Replica, principal: &str, turn: &str) -> [Answer; 3] {
    [
        replica.get(principal, &format!("/turns/{turn}")).await,
        replica.get(principal, &format!("/turns/{turn}/events")).await,
        replica.post(principal, &format!("/turns/{turn}/cancel"), Value::Null).await,
    ]
}

/// Begins a turn that goes on until the model goes on.
async fn stands_still(replica: &Replica, principal: &str, conversation: &str) -> String {
    replica.app.model.rules([Rule::says(["Once ", "upon "]).pausing_after(1)]);
    let turn = replica.post(principal, "/turns", ask(conversation)).await.turn();
    let path = format!("/turns/{turn}");
    let speaks = async || replica.get(principal, &path).await.body["replies"][0]["content"] == "Once ";
    eventually("the turn stands still", speaks).await;
    turn
}

async fn ends(replica: &Replica, principal: &str, turn: &str) -> Value {
    let path = format!("/turns/{turn}");
    let ended = async || replica.get(principal, &path).await.body["status"] != "running";
    eventually("the turn has ended", ended).await;
    replica.get(principal, &path).await.body
}

async fn a_turn_is_not_known_to_anybody_else_on_any_replica(service: &Service) {
    let running = stands_still(&service.here, ADA, "c").await;
    for ended in [false, true] {
        if ended {
            service.here.app.model.go_on();
            assert_eq!(ends(&service.here, ADA, &running).await["status"], "completed");
        }
        let mut never = running.clone();
        never.replace_range(..26, "01KASQ6W8V3Z0Q4T5Y7M2N9PBC");
        for replica in service.replicas() {
            for other in [BOB, OTHER_ADA, NOBODY] {
                let (theirs, none) =
                    (asked_about(replica, other, &running).await, asked_about(replica, other, &never).await);
                for (theirs, none) in theirs.iter().zip(&none) {
                    assert_eq!(theirs.status.as_u16(), 404, "{other} {theirs:?}");
                    assert_eq!(theirs.without_request(), none.without_request());
                }
            }
            assert_eq!(replica.get(ADA, &format!("/turns/{running}")).await.status.as_u16(), 200);
        }
    }
}

async fn what_nobody_began_is_anybodys_who_is_nobody_and_knows_its_id(service: &Service) {
    let turn = service.here.post(NOBODY, "/chat", ask("c")).await.turn();
    for replica in service.replicas() {
        assert_eq!(replica.get(NOBODY_ELSE, &format!("/turns/{turn}")).await.status.as_u16(), 200);
        assert_eq!(replica.get(NOBODY_ELSE, "/conversations/c").await.status.as_u16(), 200);
        assert_eq!(replica.get(ADA, &format!("/turns/{turn}")).await.status.as_u16(), 404);
        assert_eq!(replica.get(ADA, "/conversations/c").await.status.as_u16(), 404);
    }
}

async fn nobody_else_can_cancel_a_turn_or_find_its_conversation_busy(service: &Service) {
    let turn = stands_still(&service.here, ADA, "c").await;
    for replica in service.replicas() {
        for other in [BOB, NOBODY] {
            let cancel = replica.post(other, &format!("/turns/{turn}/cancel"), Value::Null).await;
            assert_eq!(cancel.status.as_u16(), 404);
            assert_eq!(replica.delete(other, "/conversations/c").await.status.as_u16(), 204);
        }
        let busy = replica.post(ADA, "/turns", ask("c")).await;
        assert_eq!((busy.status.as_u16(), &busy.body["turn_id"]), (409, &json!(turn)));
    }
    let own = service.there.post(BOB, "/chat", ask("c")).await;
    assert_eq!((own.status.as_u16(), &own.body["conversation"]["created"]), (200, &json!(true)), "{own:?}");

    service.here.app.model.go_on();
    assert_eq!(ends(&service.there, ADA, &turn).await["status"], "completed");
}

async fn an_idempotency_key_is_its_principals_own_over_http(service: &Service) {
    let key = [("Idempotency-Key", "one")];
    let mut turns = Vec::new();
    for principal in [ADA, OTHER_ADA, BOB, NOBODY, NOBODY_ELSE] {
        let begun = async |replica: &Replica, conversation: &str| {
            replica.ask(principal, Method::POST, "/chat", &key, Some(ask(conversation))).await
        };
        let id = format!("c-{}", turns.len());
        let (first, again) = (begun(&service.here, &id).await, begun(&service.there, &id).await);
        assert_eq!(
            (first.status.as_u16(), first.headers.get("Idempotent-Replayed")),
            (200, None),
            "{first:?}"
        );
        assert_eq!(again.headers["Idempotent-Replayed"], "true");
        assert_eq!((again.turn(), again.status.as_u16()), (first.turn(), 200));
        assert_eq!(begun(&service.there, "elsewhere").await.status.as_u16(), 422);
        assert!(!turns.contains(&first.turn()));
        turns.push(first.turn());
    }
}

async fn a_reference_is_its_principals_own_over_a_socket(service: &Service) {
    let mut turns = Vec::new();
    for principal in [ADA, OTHER_ADA, BOB] {
        let mut seen = Vec::new();
        for replica in service.replicas() {
            let mut socket = replica.socket(principal).await;
            let mut frame = ask("c");
            (frame["type"], frame["ref"]) = (json!("chat"), json!("r-1"));
            socket.say(frame).await;
            let started = socket.until("turn.started").await;
            assert_eq!(started["conversation"]["id"], "c");
            socket.until("turn.completed").await;
            seen.push(started["turn_id"].clone());
        }
        assert_eq!(seen[0], seen[1], "the same on another replica");
        assert!(!turns.contains(&seen[0]));
        turns.extend(seen);
    }
}

async fn a_turn_that_was_taken_over_is_still_its_principals(service: &Service) {
    let turn = stands_still(&service.here, ADA, "c").await;
    service.there.app.model.rules([Rule::says(["Once ", "upon ", "a time."])]);
    let chat = &service.there.app.app.services().chat;
    chat.adopt(turn.parse().unwrap(), 1, Takeover::Died).await;

    assert_eq!(ends(&service.there, ADA, &turn).await["replies"][0]["content"], "Once upon a time.");
    for replica in service.replicas() {
        assert_eq!(replica.get(BOB, &format!("/turns/{turn}")).await.status.as_u16(), 404);
        let messages = replica.get(ADA, "/conversations/c/messages").await.body;
        assert_eq!(messages["data"][1]["content"], "Once upon a time.", "{messages}");
        for other in [BOB, NOBODY] {
            assert_eq!(replica.get(other, "/conversations/c").await.status.as_u16(), 404);
        }
    }
}

async fn a_socket_neither_resumes_nor_cancels_what_is_anothers(service: &Service) {
    let turn = stands_still(&service.here, ADA, "c").await;
    for replica in service.replicas() {
        for other in [BOB, NOBODY] {
            let mut socket = replica.socket(other).await;
            for kind in ["resume", "cancel"] {
                socket.say(json!({"type": kind, "ref": kind, "turn_id": turn})).await;
                let answer = socket.next().await;
                assert_eq!((&answer["type"], &answer["ref"]), (&json!("error"), &json!(kind)), "{answer}");
                assert_eq!(answer["error"]["code"], "turn_not_found", "{answer}");
            }
        }
    }
    let mut socket = service.there.socket(ADA).await;
    socket.say(json!({"type": "resume", "ref": "mine", "turn_id": turn, "after": "0-0"})).await;
    assert_eq!(socket.next().await["type"], "turn.started");
    service.here.app.model.go_on();
    socket.until("turn.completed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_takes_as_many_looks_to_know_nothing_of_a_turn_as_to_know_that_it_is_anothers() {
    const ASKED: u64 = 20;
    let service = Service::on_redis().await;
    let redis = service.redis.as_ref().unwrap();
    let turn = stands_still(&service.here, ADA, "c").await;
    let mut never = turn.clone();
    never.replace_range(..26, "01KASQ6W8V3Z0Q4T5Y7M2N9PBC");
    for replica in service.replicas() {
        for id in [&turn, &never] {
            let before = redis.calls("hget").await;
            for _ in 0..ASKED {
                assert_eq!(replica.get(BOB, &format!("/turns/{id}")).await.status.as_u16(), 404);
            }
            assert_eq!(redis.calls("hget").await - before, ASKED, "also where the turn runs");
        }
    }
}
