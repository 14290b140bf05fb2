//! Sockets of callers who have to say who they are.

use serde_json::json;

use super::issuer::{Issuer, Signer, now};
use super::{KeysFile, entry, hello, key};
use crate::support::{Client, Socket, TestApp};

struct Stand {
    app: TestApp,
    signer: Signer,
    address: String,
    _issuer: Issuer,
}

async fn stand() -> Stand {
    let signer = Signer::new("one");
    let issuer = Issuer::start(&[&signer]).await;
    let app = TestApp::with(|config| {
        issuer.trusted(config);
        config.auth.jwt.leeway = crate::support::span(0);
    })
    .await;
    let address = app.app.listen().to_string();
    Stand { app, signer, address, _issuer: issuer }
}

impl Stand {
    fn caller(&self, subject: &str) -> Client {
        self.app.with_bearer(&self.signer.token(subject, |_| ()))
    }

    async fn ticket(&self, subject: &str) -> String {
        let issued = self.caller(subject).post("/api/v1/chat/ws/tickets", json!({})).await;
        assert_eq!(issued.status, 201, "{issued:?}");
        issued.body["ticket"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_socket_is_opened_by_a_header_a_subprotocol_or_a_ticket_and_by_nothing_less() {
    let stand = stand().await;
    let token = stand.signer.token("ada", |_| ());
    let bearer = format!("Bearer {token}");
    let offered = format!("polylogue.v1, polylogue.bearer.{token}");
    let ticket = format!("?ticket={}", stand.ticket("ada").await);

    assert_eq!(Socket::with(&stand.address, "", &[]).await.err(), Some(401));
    for (query, headers) in [
        ("", &[("Authorization", bearer.as_str())][..]),
        ("", &[("Sec-WebSocket-Protocol", offered.as_str())][..]),
        (ticket.as_str(), &[][..]),
    ] {
        let mut socket = Socket::with(&stand.address, query, headers).await.unwrap();
        socket.send(json!({"type": "ping", "ref": "1"})).await;
        assert_eq!(socket.next().await.unwrap()["type"], "pong");
    }
    // Once is once; and two credentials are one too many.
    assert_eq!(Socket::with(&stand.address, &ticket, &[]).await.err(), Some(401));
    assert_eq!(Socket::with(&stand.address, "?ticket=0123", &[]).await.err(), Some(401));
    let both = [("Authorization", bearer.as_str()), ("Sec-WebSocket-Protocol", offered.as_str())];
    assert_eq!(Socket::with(&stand.address, "", &both).await.err(), Some(401));
    // A key in a URL is none.
    assert_eq!(Socket::with(&stand.address, &format!("?token={token}"), &[]).await.err(), Some(401));
}

#[tokio::test]
async fn a_ticket_follows_a_turn_where_no_header_can_be_set() {
    let stand = stand().await;
    let started = stand.caller("ada").post("/api/v1/turns", hello()).await;
    let events = format!("/api/v1/turns/{}/events", started.header("turn-id"));
    assert_eq!(stand.app.get(&events).await.status, 401);

    let ticket = stand.ticket("ada").await;
    let followed = stand.app.get(&format!("{events}?ticket={ticket}")).await;
    assert_eq!(followed.status, 200);
    assert!(followed.body.to_string().contains("turn.completed"));
    assert_eq!(stand.app.get(&format!("{events}?ticket={ticket}")).await.status, 401);
    // Nor is a ticket good for anything else.
    let ticket = stand.ticket("ada").await;
    assert_eq!(stand.app.get(&format!("/api/v1/personas?ticket={ticket}")).await.status, 401);
}

#[tokio::test]
async fn a_socket_ends_with_its_token_unless_the_same_caller_shows_another() {
    let stand = stand().await;
    let short = |subject: &str| stand.signer.token(subject, |it| it["exp"] = json!(now() + 2));
    let long = |subject: &str| stand.signer.token(subject, |_| ());
    let open = async |token: &str| {
        Socket::with(&stand.address, "", &[("Authorization", &format!("Bearer {token}"))]).await.unwrap()
    };
    let (mut left, mut renewed) = (open(&short("ada")).await, open(&short("ada")).await);

    renewed.send(json!({"type": "auth", "ref": "1", "token": long("eve")})).await;
    let refused = renewed.next().await.unwrap();
    assert_eq!((&refused["ref"], &refused["error"]["code"]), (&json!("1"), &json!("forbidden")));
    renewed.send(json!({"type": "auth", "ref": "2", "token": "nonsense"})).await;
    assert_eq!(renewed.next().await.unwrap()["error"]["code"], "unauthenticated");
    renewed.send(json!({"type": "auth", "ref": "3", "token": long("ada")})).await;
    let answer = renewed.next().await.unwrap();
    assert_eq!((&answer["type"], &answer["ref"]), (&json!("authenticated"), &json!("3")));
    assert!(answer["expires_at"].is_string());

    assert_eq!(left.closed().await, 4501);
    renewed.send(json!({"type": "ping", "ref": "4"})).await;
    assert_eq!(renewed.next().await.unwrap()["type"], "pong");
}

#[tokio::test]
async fn a_ticket_is_worth_no_more_than_what_it_was_bought_with() {
    let known = key();
    let file = KeysFile::new(&[entry("web", &known, "")]);
    let app = TestApp::with(|config| config.auth.keys_file = Some(file.path())).await;
    let caller = app.with_bearer(known.reveal());
    let issued = caller.post("/api/v1/chat/ws/tickets", json!({})).await;
    let query = format!("?ticket={}", issued.body["ticket"].as_str().unwrap());

    file.write(&[]);
    crate::support::eventually("the key is revoked", async || {
        caller.get("/api/v1/personas").await.status == 401
    })
    .await;
    assert_eq!(Socket::with(&app.app.listen().to_string(), &query, &[]).await.err(), Some(401));
}

#[tokio::test]
async fn where_authentication_is_off_an_auth_frame_is_told_so() {
    let app = TestApp::start().await;
    let mut socket = Socket::open(&app.app.listen().to_string()).await;
    socket.send(json!({"type": "auth", "ref": "1", "token": "x"})).await;
    assert_eq!(socket.next().await.unwrap()["error"]["code"], "invalid_request");
}
