//! What an operator sees of somebody's sockets, and ending them.

use poem::http::Method;
use serde_json::json;

use super::stage::Service;
use super::{ADA, BOB, NOBODY, on_both};
use crate::support::eventually;

on_both![
    an_operator_sees_a_principals_sockets_on_all_replicas,
    an_operator_ends_a_principals_sockets_on_all_replicas_and_nobody_elses,
    what_an_operator_asks_for_has_to_be_a_principal,
    only_an_operator_sees_and_ends_sockets,
];

async fn an_operator_sees_a_principals_sockets_on_all_replicas(service: &Service) {
    let (_here, _there, _other) =
        (service.here.socket(ADA).await, service.there.socket(ADA).await, service.here.socket(BOB).await);
    let seen = service.here.manage(Method::GET, "/connections?principal=key:ada").await;
    assert_eq!((seen.status.as_u16(), &seen.body["principal"]), (200, &json!(ADA)), "{seen:?}");
    let data = seen.body["data"].as_array().unwrap();
    assert_eq!((data.len(), &seen.body["has_more"]), (2, &json!(false)), "{seen:?}");
    assert!(data.iter().all(|socket| socket["id"].is_string() && socket["since"].is_string()));
    let here: Vec<_> = data.iter().filter(|socket| socket["replica"].is_string()).collect();
    assert_eq!((here.len(), &here[0]["client"]), (1, &json!("192.0.2.0/24")), "one of them is here");

    let _nobodys = service.here.socket(NOBODY).await;
    let seen = service.here.manage(Method::GET, "/connections?principal=address%3A192.0.2.1").await;
    assert_eq!(seen.body["data"][0]["client"], "192.0.2.0/24", "{seen:?}");
}

async fn an_operator_ends_a_principals_sockets_on_all_replicas_and_nobody_elses(service: &Service) {
    let (mut here, mut there) = (service.here.socket(ADA).await, service.there.socket(ADA).await);
    let (mut other, mut nobodys) = (service.there.socket(BOB).await, service.there.socket(NOBODY).await);
    let ended = service.here.manage(Method::DELETE, "/connections?principal=key:ada").await;
    assert_eq!((ended.status.as_u16(), &ended.body["disconnected_here"]), (202, &json!(1)), "{ended:?}");

    assert_eq!(here.end().await, (4501, "auth_expired".into()));
    assert_eq!(there.end().await, (4501, "auth_expired".into()));
    for socket in [&mut other, &mut nobodys] {
        socket.say(json!({"type": "ping", "ref": "alive?"})).await;
        assert_eq!(socket.next().await["type"], "pong");
    }
    eventually("their places are free", async || {
        let seen = service.there.manage(Method::GET, "/connections?principal=key:ada").await;
        seen.body["data"] == json!([])
    })
    .await;
}

async fn what_an_operator_asks_for_has_to_be_a_principal(service: &Service) {
    for query in ["", "?principal=", "?principal=ada", "?principal=address:ada", "?other=key:ada"] {
        for method in [Method::GET, Method::DELETE] {
            let answer = service.here.manage(method, &format!("/connections{query}")).await;
            assert_eq!(answer.status.as_u16(), 400, "{query}");
            assert_eq!(answer.body["errors"][0]["parameter"], "principal");
        }
    }
    let wrong = service.here.manage(Method::POST, "/connections?principal=key:ada").await;
    assert_eq!(
        (wrong.status.as_u16(), &wrong.headers["allow"]),
        (405, &"GET, HEAD, DELETE".parse().unwrap())
    );
}

async fn only_an_operator_sees_and_ends_sockets(service: &Service) {
    let mut socket = service.here.socket(ADA).await;
    for method in [Method::GET, Method::DELETE, Method::POST] {
        let answer = service.here.manage_with("open peas", method, "/connections?principal=key:ada").await;
        assert_eq!((answer.status.as_u16(), &answer.body["code"]), (401, &json!("unauthenticated")));
    }
    socket.say(json!({"type": "ping", "ref": "alive?"})).await;
    assert_eq!(socket.next().await["type"], "pong");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_is_told_when_other_replicas_could_not_be_told() {
    let service = Service::on_redis().await;
    let mut socket = service.here.socket(ADA).await;
    service.redis.as_ref().unwrap().kill_9();
    let ended = service.here.manage(Method::DELETE, "/connections?principal=key:ada").await;
    assert_eq!((ended.status.as_u16(), &ended.body["code"]), (503, &json!("state_unavailable")), "{ended:?}");
    assert_eq!(socket.end().await, (4501, "auth_expired".into()), "here it is done");
}
