//! Every operation of the documents, shown every kind of credential, on the replica that began things and on another one.
//! Made from the documents: an operation that is added is in it, or the test says what it does not know how to ask.

use std::collections::BTreeMap;

use polylogue::http::asyncapi;
use polylogue::http::document::openapi_31;
use polylogue::simulator::Simulator;
use reqwest::Method;
use serde_json::{Value, json};

use super::issuer::{AUDIENCE, ISSUER, Issuer, Signer, now};
use super::{KeysFile, entry, key};
use crate::support::redis::RedisServer;
use crate::support::replicas::{Replica, Replicas};
use crate::support::{Client, Socket, eventually};

/// What a request shows.
const WRONG: [&str; 6] = [
    "no credential",
    "a bad key",
    "an expired key",
    "a revoked key",
    "an expired token",
    "a token for another audience",
];

struct Stand {
    replicas: Replicas,
    credentials: BTreeMap<&'static str, String>,
    _parts: (RedisServer, Simulator, KeysFile, Issuer),
}

impl Stand {
    async fn start() -> Self {
        let (ada, bob, expired, revoked) = (key(), key(), key(), key());
        let standing = |revoked: Vec<String>| {
            let past = "expires_at = \"2020-01-01T00:00:00Z\"";
            [vec![entry("ada", &ada, ""), entry("bob", &bob, ""), entry("ada", &expired, past)], revoked]
                .concat()
        };
        let file = KeysFile::new(&standing(vec![entry("ada", &revoked, "")]));
        let signer = Signer::new("one");
        let issuer = Issuer::start(&[&signer]).await;
        let (simulator, _) = crate::support::model().await;
        let redis = RedisServer::start().await;
        let settings = [
            format!("auth.keys_file={}", file.path().display()),
            format!("auth.jwt.issuer={ISSUER}"),
            format!("auth.jwt.audience={AUDIENCE}"),
            format!("auth.jwt.jwks_url={}", issuer.url()),
            "limits.policies.failed_authentication.quota=1000000".to_owned(),
        ];
        let settings: Vec<_> = settings.iter().map(String::as_str).collect();
        let replicas = Replicas::start(2, &simulator, Some(&redis.url()), &settings).await;

        file.write(&standing(Vec::new()));
        for replica in replicas.iter() {
            let client = replica.client.with_bearer(revoked.reveal());
            eventually("the key is revoked", async || client.get("/api/v1/personas").await.status == 401)
                .await;
        }
        let credentials = [
            ("ada", ada.reveal().to_owned()),
            ("bob", bob.reveal().to_owned()),
            ("a subject that is called ada", signer.token("ada", |_| ())),
            ("a bad key", key().reveal().to_owned()),
            ("an expired key", expired.reveal().to_owned()),
            ("a revoked key", revoked.reveal().to_owned()),
            ("an expired token", signer.token("ada", |it| it["exp"] = json!(now() - 600))),
            ("a token for another audience", signer.token("ada", |it| it["aud"] = json!("other"))),
        ];
        Self { replicas, credentials: credentials.into(), _parts: (redis, simulator, file, issuer) }
    }

    fn client(&self, replica: &Replica, who: &str) -> Client {
        match self.credentials.get(who) {
            Some(credential) => replica.client.with_bearer(credential),
            None => replica.client.clone(),
        }
    }
}

/// One operation of the OpenAPI document.
struct Operation {
    id: String,
    method: Method,
    path: String,
    body: Option<Value>,
    successes: Vec<u16>,
}

fn operations() -> Vec<Operation> {
    let document = openapi_31(None);
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let schema = operation["requestBody"]["content"].as_object();
            let schema = schema.and_then(|content| content.values().next()?["schema"]["$ref"].as_str());
            let statuses = operation["responses"].as_object().unwrap().keys();
            all.push(Operation {
                id: operation["operationId"].as_str().unwrap().to_owned(),
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                body: schema.map(sample),
                successes: statuses.filter_map(|status| status.parse().ok()).filter(|it| *it < 300).collect(),
            });
        }
    }
    all
}

/// A body that is right.
fn sample(schema: &str) -> Value {
    match schema.rsplit('/').next().unwrap() {
        "ChatRequest" => json!({"message": "Was Troy real?", "personas": ["historian"]}),
        "AddMessage" => json!({"role": "user", "content": "by the way"}),
        unknown => panic!("this test has no sample of {unknown}"),
    }
}

/// What ada has: a turn and its conversation.
struct Belongings {
    turn: String,
    conversation: String,
}

impl Belongings {
    async fn of(client: &Client) -> Self {
        let answered = client.post("/api/v1/chat", sample("ChatRequest")).await;
        assert_eq!(answered.status, 200, "{answered:?}");
        let conversation = answered.body["conversation"]["id"].as_str().unwrap().to_owned();
        Self { turn: answered.header("turn-id").to_owned(), conversation }
    }

    /// Names that were never given to anything, of the same form.
    fn never() -> Self {
        let (turn, conversation) =
            ("01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2".to_owned(), format!("{:032x}", rand_u128()));
        Self { turn, conversation }
    }
}

fn rand_u128() -> u128 {
    polylogue::words::new_ulid(now()).0
}

impl Operation {
    /// Whether it is about something that belongs to somebody.
    fn is_about(&self, belongings: &Belongings) -> bool {
        self.target(belongings) != self.path && !self.path.starts_with("/api/v1/personas")
    }

    fn target(&self, belongings: &Belongings) -> String {
        let target = self.path.replace("{turn_id}", &belongings.turn);
        let target = match self.path.split('/').nth(3).unwrap() {
            "conversations" => target.replace("{id}", &belongings.conversation),
            "personas" => target.replace("{id}", "historian"),
            _ => target,
        };
        assert!(!target.contains('{'), "this test does not know what to put into {}", self.path);
        target
    }

    /// The status, and what the answer says without what is different each time.
    async fn ask(&self, client: &Client, about: &Belongings) -> (u16, Value) {
        let request = client.client.request(self.method.clone(), client.url(&self.target(about)));
        let request = self.body.iter().fold(request, |request, body| request.json(body));
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let mut body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default();
        for different in ["request_id", "instance", "retry_after_ms"] {
            body.as_object_mut().map(|members| members.remove(different));
        }
        (status, body)
    }
}

#[tokio::test]
async fn every_operation_lets_in_whom_it_must_on_every_replica() {
    let stand = Stand::start().await;
    let operations = operations();
    assert!(operations.len() >= 13, "the document has lost operations");
    for operation in &operations {
        let id = &operation.id;
        let here = &stand.replicas[0];
        let belongings = Belongings::of(&stand.client(here, "ada")).await;
        for replica in stand.replicas.iter() {
            for wrong in WRONG {
                let (status, body) = operation.ask(&stand.client(replica, wrong), &belongings).await;
                assert_eq!((status, &body["code"]), (401, &json!("unauthenticated")), "{id} with {wrong}");
            }
            // To everybody else it is as if it had never been; the same name from elsewhere is somebody else.
            for other in ["bob", "a subject that is called ada"] {
                let client = stand.client(replica, other);
                let (status, body) = operation.ask(&client, &belongings).await;
                if operation.is_about(&belongings) {
                    let never = operation.ask(&client, &Belongings::never()).await;
                    assert_eq!(status, never.0, "{id} by {other}: {body}");
                    if status >= 400 {
                        assert_eq!((status, &body), (404, &never.1), "{id} by {other}");
                    }
                } else {
                    assert!(operation.successes.contains(&status), "{id} by {other}: {status} {body}");
                }
            }
            let own = Belongings::of(&stand.client(here, "ada")).await;
            let (status, body) = operation.ask(&stand.client(replica, "ada"), &own).await;
            assert!(operation.successes.contains(&status), "{id} by its owner: {status} {body}");
        }
        // Whatever the others did, nothing of ada's has changed.
        let ada = stand.client(&stand.replicas[1], "ada");
        let messages = ada.get(&format!("/api/v1/conversations/{}/messages", belongings.conversation)).await;
        assert_eq!(messages.body["data"].as_array().map(Vec::len), Some(2), "{id}: {messages:?}");
    }
}

#[tokio::test]
async fn every_frame_of_a_socket_is_for_whom_it_must_be_on_every_replica() {
    let stand = Stand::start().await;
    let belongings = Belongings::of(&stand.client(&stand.replicas[0], "ada")).await;
    let document = asyncapi::document(None);
    let frames: Vec<_> = document["operations"]["receive"]["messages"].as_array().unwrap().iter().collect();
    for replica in stand.replicas.iter() {
        let address = replica.address();
        let open = async |who: &str| {
            let bearer = stand.credentials.get(who).map(|credential| format!("Bearer {credential}"));
            let headers: Vec<_> = bearer.iter().map(|bearer| ("Authorization", bearer.as_str())).collect();
            Socket::with(&address, "", &headers).await
        };
        for wrong in WRONG {
            assert_eq!(open(wrong).await.err(), Some(401), "{wrong}");
        }
        for who in ["ada", "bob", "a subject that is called ada"] {
            let mut socket = open(who).await.unwrap();
            for frame in &frames {
                let kind = frame["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
                let sent = match kind {
                    "chat" => {
                        json!({"type": kind, "ref": "r", "message": "hm", "personas": ["historian"],
                            "conversation_id": belongings.conversation})
                    }
                    "resume" | "cancel" => json!({"type": kind, "ref": "r", "turn_id": belongings.turn}),
                    "auth" => json!({"type": kind, "ref": "r", "token": stand.credentials["ada"]}),
                    "ping" => json!({"type": kind, "ref": "r"}),
                    unknown => panic!("this test does not know what a {unknown} frame is"),
                };
                socket.send(sent).await;
                let answer = loop {
                    let answer = socket.next().await.unwrap();
                    let is_rest = answer["turn_id"].is_string()
                        && kind != "resume"
                        && answer["type"] != "turn.completed";
                    if answer["ref"] == "r" && (!is_rest || answer["type"] == "cancelling") {
                        break answer;
                    }
                };
                let expected = match (kind, who) {
                    ("resume" | "cancel", "ada") | ("chat" | "ping", _) => None,
                    ("auth", "ada") => None,
                    ("auth", _) => Some("forbidden"),
                    (_, _) => Some("turn_not_found"),
                };
                assert_eq!(answer["error"]["code"].as_str(), expected, "{kind} by {who}: {answer}");
                if kind == "resume" && expected.is_none() {
                    socket.until("turn.completed").await;
                }
            }
        }
        let ada = stand.client(replica, "ada");
        let path = format!("/api/v1/conversations/{}", belongings.conversation);
        let count = ada.get(&path).await.body["message_count"].as_u64().unwrap();
        assert_eq!(count % 2, 0, "only ada's own turns are in it");
        assert!(count <= 6, "{count} messages");
    }
}

#[tokio::test]
async fn a_ticket_is_good_on_a_replica_that_never_saw_its_owner_and_only_once() {
    let stand = Stand::start().await;
    let (here, there) = (&stand.replicas[0], &stand.replicas[1]);
    let issued = stand.client(here, "ada").post("/api/v1/chat/ws/tickets", json!({})).await;
    let query = format!("?ticket={}", issued.body["ticket"].as_str().unwrap());
    let mut socket = Socket::with(&there.address(), &query, &[]).await.unwrap();
    socket.send(json!({"type": "ping", "ref": "1"})).await;
    assert_eq!(socket.next().await.unwrap()["type"], "pong");
    for replica in stand.replicas.iter() {
        assert_eq!(Socket::with(&replica.address(), &query, &[]).await.err(), Some(401));
    }

    let started = stand.client(here, "ada").post("/api/v1/turns", sample("ChatRequest")).await;
    for (who, expected) in [("bob", 404), ("ada", 200)] {
        let issued = stand.client(here, who).post("/api/v1/chat/ws/tickets", json!({})).await;
        let ticket = issued.body["ticket"].as_str().unwrap();
        let events = format!("/api/v1/turns/{}/events?ticket={ticket}", started.header("turn-id"));
        assert_eq!(there.client.get(&events).await.status, expected, "{who}");
    }
}
