use serde_json::Value;

use super::{Answer, Socket, Sse};

/// A caller of a running service.
#[derive(Clone)]
pub struct Client {
    pub client: reqwest::Client,
    pub base: String,
}

impl Client {
    /// Calls the service that listens at this address.
    pub fn of(address: &str) -> Self {
        // Nobody here speaks TLS, and reading the authorities of the machine takes longer than most requests.
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        Self { client, base: format!("http://{address}") }
    }

    /// The same caller, with this credential.
    pub fn with_bearer(&self, credential: &str) -> Self {
        let mut headers = reqwest::header::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {credential}").parse().unwrap());
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).default_headers(headers);
        Self { client: client.build().unwrap(), base: self.base.clone() }
    }

    /// POSTs JSON.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.client.post(self.url(path)).json(&body).send().await.unwrap()).await
    }

    /// POSTs JSON with more headers.
    pub async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let request = self.client.post(self.url(path)).json(body);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Answer::of(request.send().await.unwrap()).await
    }

    /// DELETEs.
    pub async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.client.delete(self.url(path)).send().await.unwrap()).await
    }

    /// GETs.
    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.client.get(self.url(path)).send().await.unwrap()).await
    }

    /// Opens an event stream by starting a turn.
    pub async fn stream(&self, body: Value) -> Sse {
        Sse::of(self.client.post(self.url("/api/v1/chat/stream")).json(&body).send().await.unwrap())
    }

    /// Starts a turn and does not wait; its id.
    pub async fn start_turn(&self, body: Value) -> String {
        let accepted = self.post("/api/v1/turns", body).await;
        assert_eq!(accepted.status, 202, "{accepted:?}");
        accepted.header("turn-id").to_owned()
    }

    /// Follows a turn after an event.
    pub async fn resume(&self, turn: &str, after: &str) -> Sse {
        let request = self.client.get(self.url(&format!("/api/v1/turns/{turn}/events")));
        Sse::of(request.header("Last-Event-ID", after).send().await.unwrap())
    }

    /// Opens the event stream at this path below `turns`.
    pub async fn follow(&self, path: &str) -> Sse {
        Sse::of(self.client.get(self.url(&format!("/api/v1/turns/{path}"))).send().await.unwrap())
    }

    /// Opens a socket and takes its hello.
    pub async fn socket(&self) -> Socket {
        Socket::open(self.base.trim_start_matches("http://")).await
    }

    /// The absolute address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}
