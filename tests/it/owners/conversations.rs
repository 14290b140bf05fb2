use serde_json::{Value, json};

use super::stage::{Replica, Service};
use super::{ADA, BOB, NOBODY, OTHER_ADA, on_both};
use crate::support::eventually;

on_both![
    the_same_id_means_another_conversation_to_everybody,
    a_conversation_of_somebody_else_is_like_one_that_never_was,
    everybody_lists_their_own_on_any_replica,
    a_list_is_read_to_its_end,
    who_did_not_say_who_they_are_owns_nothing,
    what_is_no_part_of_a_list_is_refused,
];

async fn notes(replica: &Replica, principal: &str, id: &str, text: &str) {
    let note = json!({"role": "user", "content": text});
    let added = replica.post(principal, &format!("/conversations/{id}/messages"), note).await;
    assert_eq!(added.status.as_u16(), 201, "{added:?}");
}

async fn texts(replica: &Replica, principal: &str, id: &str) -> Vec<Value> {
    let messages = replica.get(principal, &format!("/conversations/{id}/messages")).await.body;
    let data = messages["data"].as_array().cloned().unwrap_or_default();
    data.into_iter().map(|message| message["content"].clone()).collect()
}

async fn ids(replica: &Replica, principal: &str) -> Vec<String> {
    let list = replica.get(principal, "/conversations").await;
    assert_eq!((list.status.as_u16(), &list.body["has_more"]), (200, &json!(false)), "{list:?}");
    let id = |item: &Value| item["id"].as_str().unwrap().to_owned();
    list.body["data"].as_array().unwrap().iter().map(id).collect()
}

async fn the_same_id_means_another_conversation_to_everybody(service: &Service) {
    let everybody = [ADA, OTHER_ADA, BOB, NOBODY];
    for principal in everybody {
        notes(&service.here, principal, "team-42", principal).await;
    }
    for replica in service.replicas() {
        for principal in everybody {
            assert_eq!(texts(replica, principal, "team-42").await, [principal]);
        }
    }
    assert_eq!(service.there.delete(BOB, "/conversations/team-42").await.status.as_u16(), 204);
    for replica in service.replicas() {
        for principal in [ADA, OTHER_ADA, NOBODY] {
            assert_eq!(texts(replica, principal, "team-42").await, [principal]);
        }
        assert!(texts(replica, BOB, "team-42").await.is_empty());
    }
}

async fn a_conversation_of_somebody_else_is_like_one_that_never_was(service: &Service) {
    notes(&service.here, ADA, "c", "a secret").await;
    for replica in service.replicas() {
        for other in [BOB, OTHER_ADA, NOBODY] {
            for rest in ["", "/messages"] {
                let theirs = replica.get(other, &format!("/conversations/c{rest}")).await;
                let none = replica.get(other, &format!("/conversations/never{rest}")).await;
                assert_eq!(theirs.status.as_u16(), 404);
                assert_eq!(theirs.without_request(), none.without_request());
            }
        }
    }
    assert_eq!(service.there.delete(NOBODY, "/conversations/c").await.status.as_u16(), 204);
    assert_eq!(texts(&service.there, ADA, "c").await, ["a secret"]);
}

async fn everybody_lists_their_own_on_any_replica(service: &Service) {
    notes(&service.here, ADA, "one", "1").await;
    notes(&service.there, BOB, "other", "2").await;
    let asked = json!({"message": "was Troy real?", "personas": ["guide"], "conversation_id": "two"});
    service.there.post(ADA, "/chat", asked).await;
    for replica in service.replicas() {
        assert_eq!(ids(replica, ADA).await, ["two", "one"]);
        assert_eq!(ids(replica, BOB).await, ["other"]);
        assert!(ids(replica, OTHER_ADA).await.is_empty());
    }
    let listed = service.here.get(ADA, "/conversations?limit=1").await.body["data"][0].clone();
    let read = service.here.get(ADA, "/conversations/two").await.body;
    assert_eq!(listed, read, "nothing runs there, so both say the same");

    service.here.delete(ADA, "/conversations/one").await;
    for replica in service.replicas() {
        assert_eq!(ids(replica, ADA).await, ["two"]);
    }
}

async fn a_list_is_read_to_its_end(service: &Service) {
    for n in 0..5 {
        notes(&service.here, ADA, &format!("c{n}"), "so").await;
    }
    let (mut seen, mut path) = (Vec::new(), "/conversations?limit=2".to_owned());
    loop {
        let page = service.there.get(ADA, &path).await.body;
        seen.extend(
            page["data"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else {
            assert_eq!(page["has_more"], false);
            break;
        };
        assert_eq!(page["has_more"], true);
        path = format!("/conversations?limit=2&after={next}");
    }
    let all = ids(&service.here, ADA).await;
    assert_eq!((seen.len(), seen), (5, all));
}

async fn who_did_not_say_who_they_are_owns_nothing(service: &Service) {
    notes(&service.here, NOBODY, "c", "so").await;
    let list = service.here.get(NOBODY, "/conversations").await;
    assert_eq!((list.status.as_u16(), list.body), (200, json!({"data": [], "has_more": false})));
}

async fn what_is_no_part_of_a_list_is_refused(service: &Service) {
    for query in ["limit=0", "limit=101", "limit=x", "after=c", "after=01.c"] {
        let answer = service.here.get(ADA, &format!("/conversations?{query}")).await;
        let parameter = query.split('=').next().unwrap();
        assert_eq!(answer.body["errors"][0]["parameter"], parameter, "{query}: {answer:?}");
        assert_eq!(answer.status.as_u16(), 400);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_goes_on_without_redis_and_is_whole_again_when_it_comes_back_empty() {
    let service = Service::on_redis().await;
    let redis = service.redis.as_ref().unwrap();
    notes(&service.here, ADA, "here", "1").await;
    // Two replicas agree on the time but for some milliseconds.
    eventually("who was spoken to last comes first", async || {
        notes(&service.there, ADA, "there", "2").await;
        ids(&service.here, ADA).await == ["there", "here"]
    })
    .await;

    redis.kill_9();
    let asked = json!({"message": "was Troy real?", "personas": ["guide"], "conversation_id": "begun"});
    assert_eq!(service.here.post(ADA, "/chat", asked).await.status.as_u16(), 200);
    let list = service.here.get(ADA, "/conversations").await.body;
    assert_eq!((&list["data"][0]["id"], &list["degraded"]), (&json!("begun"), &json!(true)), "{list}");
    assert_eq!(list["data"].as_array().unwrap().len(), 2, "what is known here: {list}");
    service.here.delete(ADA, "/conversations/here").await;
    assert_eq!(ids(&service.here, ADA).await, ["begun"]);

    redis.restart_empty().await;
    for replica in service.replicas() {
        eventually("it is listed again, and what was forgotten is not", async || {
            replica.get(ADA, "/conversations").await.body["degraded"].is_null()
                && ids(replica, ADA).await == ["begun", "there"]
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_does_not_show_whose_a_conversation_is() {
    let service = Service::on_redis().await;
    notes(&service.here, "subject:ada@example.org", "c", "so").await;
    notes(&service.here, NOBODY, "plain", "so").await;
    let keys = service.redis.as_ref().unwrap().keys("*").await;
    assert!(keys.iter().all(|key| !key.contains("ada")), "{keys:?}");
    assert!(
        keys.iter().any(|key| key.ends_with(":conv:plain")),
        "nobody's are named as they always were: {keys:?}"
    );
}
