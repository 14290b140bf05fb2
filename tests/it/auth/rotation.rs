//! Credentials change while callers go on asking, and no right request is refused.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::issuer::{Issuer, Signer, now};
use super::{KeysFile, entry, key};
use crate::support::{Client, TestApp, eventually, span};

const CALLERS: usize = 8;

/// What all callers show from now on.
struct Shown {
    client: Mutex<Client>,
    is_over: AtomicBool,
    asked: AtomicUsize,
}

impl Shown {
    fn new(client: Client) -> Arc<Self> {
        Arc::new(Self {
            client: Mutex::new(client),
            is_over: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
        })
    }

    fn show(&self, client: Client) {
        *self.client.lock().unwrap() = client;
    }

    /// Asks until it is over; what was not answered with 200.
    async fn ask(&self) -> Vec<u16> {
        let mut refused = Vec::new();
        while !self.is_over.load(Ordering::Relaxed) {
            let client = self.client.lock().unwrap().clone();
            let status = client.get("/api/v1/personas").await.status;
            refused.extend((status != 200).then_some(status));
            self.asked.fetch_add(1, Ordering::Relaxed);
        }
        refused
    }

    /// Runs callers beside `change`; none of them may be refused.
    async fn while_asking(self: &Arc<Self>, change: impl Future<Output = ()>) {
        let callers = join_all((0..CALLERS).map(|_| self.ask()));
        let changes = async {
            change.await;
            self.is_over.store(true, Ordering::Relaxed);
        };
        let (refused, ()) = tokio::join!(callers, changes);
        assert_eq!(refused.concat(), Vec::<u16>::new());
        assert!(self.asked.load(Ordering::Relaxed) > 100);
    }

    /// Waits until callers have asked so many times more.
    async fn go_on(&self, times: usize) {
        let until = self.asked.load(Ordering::Relaxed) + times;
        eventually("callers go on", async || self.asked.load(Ordering::Relaxed) >= until).await;
    }
}

#[tokio::test]
async fn keys_are_replaced_under_load_without_a_refused_request() {
    let mut current = key();
    let file = KeysFile::new(&[entry("web", &current, "")]);
    let app = TestApp::with(|config| config.auth.keys_file = Some(file.path())).await;
    let shown = Shown::new(app.with_bearer(current.reveal()));
    shown
        .while_asking(async {
            for _ in 0..3 {
                let next = key();
                file.write(&[entry("web", &current, ""), entry("web", &next, "")]);
                let (old, new) = (app.with_bearer(current.reveal()), app.with_bearer(next.reveal()));
                eventually("it is known", async || new.get("/api/v1/personas").await.status == 200).await;
                shown.show(new);
                shown.go_on(5 * CALLERS).await;
                file.write(&[entry("web", &next, "")]);
                eventually("it is revoked", async || old.get("/api/v1/personas").await.status == 401).await;
                current = next;
            }
        })
        .await;
}

#[tokio::test]
async fn tokens_expire_and_their_keys_change_under_load_without_a_refused_request() {
    let mut signer = Signer::new("0");
    let issuer = Issuer::start(&[&signer]).await;
    let app = TestApp::with(|config| {
        issuer.trusted(config);
        config.auth.jwt.refresh = span(100);
        config.auth.jwt.leeway = span(0);
    })
    .await;
    let short = |signer: &Signer| app.with_bearer(&signer.token("ada", |it| it["exp"] = json!(now() + 3)));
    let shown = Shown::new(short(&signer));
    shown
        .while_asking(async {
            for nth in 1..=3 {
                let next = Signer::new(&nth.to_string());
                issuer.has(&[&signer, &next]);
                let new = short(&next);
                eventually("it is known", async || new.get("/api/v1/personas").await.status == 200).await;
                shown.show(new);
                shown.go_on(5 * CALLERS).await;
                issuer.has(&[&next]);
                let expired = app.with_bearer(&signer.token("ada", |it| it["exp"] = json!(now() - 1)));
                eventually("what is old is refused", async || {
                    expired.get("/api/v1/personas").await.status == 401
                })
                .await;
                shown.show(short(&next));
                tokio::time::timeout(Duration::from_secs(10), shown.go_on(CALLERS)).await.unwrap();
                signer = next;
            }
        })
        .await;
}
