//! The same load straight at a server that speaks the OpenAI protocol: the baseline, and any peer.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::BodyExt as _;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use serde::Deserialize;
use serde_json::json;

use crate::dial::Dialer;
use crate::drive::Work;
use crate::fault::{BROKEN, Fault, TRUNCATED, UNREADABLE};
use crate::http_client::{Ask, HttpClient, whole};
use crate::message::question;
use crate::outcome::{Kind, Outcome};
use crate::sse::SseReader;
use crate::target::Target;
use crate::verify::Text;

/// What is asked of a model server.
#[derive(Clone)]
pub struct Direct {
    /// Makes connections.
    pub dialer: Dialer,
    /// Base addresses, as a client of the protocol takes them (most end in `/v1`): users are spread over them.
    pub targets: Arc<[Target]>,
    /// The key, as a header.
    pub token: Option<HeaderValue>,
    /// More headers.
    pub headers: HeaderMap,
    /// The model's name.
    pub model: String,
    /// Whether the answer is a stream.
    pub is_stream: bool,
    /// The length of a message.
    pub message_bytes: usize,
    /// The longest answer.
    pub max_tokens: Option<u32>,
    /// Another seed asks other things.
    pub seed: u64,
}

/// One user.
pub struct User {
    client: HttpClient,
    dice: SmallRng,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Vec<Choice<'a>>,
    #[serde(default)]
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: Option<Said<'a>>,
    #[serde(borrow)]
    message: Option<Said<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    content: Option<Text<'a>>,
}

impl Said<'_> {
    fn is_text(&self) -> bool {
        self.content.as_ref().is_some_and(|content| !content.0.is_empty())
    }
}

impl Work for Direct {
    type User = User;

    fn user(&self, number: usize) -> User {
        let target = self.targets[number % self.targets.len()].clone();
        User {
            client: HttpClient::new(self.dialer.clone(), target, self.token.clone())
                .with_headers(self.headers.clone()),
            dice: SmallRng::seed_from_u64(self.seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        }
    }

    fn kind(&self, _: &mut User) -> Kind {
        if self.is_stream { Kind::Stream } else { Kind::Whole }
    }

    async fn rest(&self, _: &mut User) {
        std::future::pending().await
    }

    async fn once(&self, user: &mut User, kind: Kind) -> Outcome {
        let mut outcome = Outcome::new(kind);
        outcome.result = if self.is_stream {
            self.streamed(user, &mut outcome).await
        } else {
            self.answered(user, &mut outcome).await
        };
        outcome
    }
}

impl Direct {
    fn ask(&self, user: &mut User) -> Ask<'static> {
        let mut body = json!({
            "model": self.model,
            "messages": [{"role": "user", "content": question(self.message_bytes, &mut user.dice)}],
        });
        if let Some(tokens) = self.max_tokens {
            body["max_tokens"] = tokens.into();
        }
        if self.is_stream {
            body["stream"] = true.into();
            body["stream_options"] = json!({"include_usage": true});
        }
        let accept = if self.is_stream { "text/event-stream" } else { "application/json" };
        let body = Bytes::from(body.to_string());
        Ask { method: Method::POST, path: "/chat/completions", body, accept, header: None }
    }

    async fn answered(&self, user: &mut User, outcome: &mut Outcome) -> Result<(), Fault> {
        let ask = self.ask(user);
        let response = user.client.ask(ask).await?;
        let body = whole(response.into_body()).await.inspect_err(|_| user.client.hang_up())?;
        outcome.bytes += body.len() as u64;
        let answer: Chunk<'_> = serde_json::from_slice(&body).map_err(|_| UNREADABLE)?;
        let said = answer.choices.first().and_then(|choice| choice.message.as_ref());
        if said.is_some_and(Said::is_text) { Ok(()) } else { Err(Fault::of("no_content")) }
    }

    async fn streamed(&self, user: &mut User, outcome: &mut Outcome) -> Result<(), Fault> {
        let ask = self.ask(user);
        let response = user.client.ask(ask).await?;
        let mut body = response.into_body();
        let mut stream = Stream::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| BROKEN);
            let Ok(data) = frame.inspect_err(|_| user.client.hang_up())?.into_data() else { continue };
            outcome.bytes += data.len() as u64;
            if let Err(fault) = stream.take(&data, outcome) {
                user.client.hang_up();
                return Err(fault);
            }
        }
        stream.finish()
    }
}

/// A stream of chunks.
#[derive(Default)]
struct Stream {
    reader: SseReader,
    last_token: Option<std::time::Instant>,
    has_reason: bool,
    is_done: bool,
}

impl Stream {
    fn take(&mut self, data: &[u8], outcome: &mut Outcome) -> Result<(), Fault> {
        if !self.reader.feed(data) {
            return Err(UNREADABLE);
        }
        while let Some(event) = self.reader.next_event() {
            if &*event.data == b"[DONE]" {
                self.is_done = true;
                continue;
            }
            let chunk: Chunk<'_> = serde_json::from_slice(&event.data).map_err(|_| UNREADABLE)?;
            if chunk.error.is_some() {
                return Err(Fault::of("error_in_stream"));
            }
            for choice in &chunk.choices {
                self.has_reason |= choice.finish_reason.is_some();
                if choice.delta.as_ref().is_some_and(Said::is_text) {
                    outcome.token(&mut self.last_token);
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Fault> {
        if !self.has_reason || !self.is_done {
            return Err(TRUNCATED);
        }
        if self.last_token.is_none() { Err(Fault::of("no_content")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n\
        data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n\
        data: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\n\n\
        data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
        data: {\"choices\":[],\"usage\":{}}\n\ndata: [DONE]\n\n";

    fn judged(text: &str) -> (Result<(), Fault>, u64) {
        let mut outcome = Outcome::new(Kind::Stream);
        let mut stream = Stream::default();
        let result = stream.take(text.as_bytes(), &mut outcome).and_then(|()| stream.finish());
        (result, outcome.tokens)
    }

    #[test]
    fn a_stream_is_whole_with_a_reason_and_its_end_only() {
        assert_eq!(judged(WHOLE), (Ok(()), 2));
        for missing in
            ["data: [DONE]\n\n", "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"]
        {
            assert_eq!(judged(&WHOLE.replace(missing, "")).0, Err(TRUNCATED), "without {missing}");
        }
        assert_eq!(judged("data: {\"error\":{\"message\":\"no\"}}\n\n").0, Err(Fault::of("error_in_stream")));
    }
}
