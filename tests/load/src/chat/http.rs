//! Turns over HTTP: one answer, or a stream that is resumed when it is dropped.

use std::time::Duration;

use ::http::{Method, Response};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Deserialize;

use super::turn::{Followed, Next};
use super::{Chat, User};
use crate::fault::{BROKEN, Fault, TRUNCATED, UNREADABLE};
use crate::http_client::{Ask, HttpClient, whole};
use crate::outcome::Outcome;
use crate::sse::SseReader;
use crate::verify::Problem;

/// The pause before a broken stream is resumed; doubled with every attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// What of a `Turn` is looked at.
#[derive(Deserialize)]
struct Turn<'a> {
    #[serde(borrow)]
    status: &'a str,
    #[serde(borrow, default)]
    replies: Vec<Reply<'a>>,
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    status: &'a str,
    #[serde(borrow)]
    error: Option<Problem<'a>>,
}

impl Chat {
    /// `POST /chat`.
    pub(super) async fn answered(&self, user: &mut User, outcome: &mut Outcome) -> Result<(), Fault> {
        let ask = self.post("/api/v1/chat", user_body(self, user)?, JSON);
        let response = user.home.ask(ask).await?;
        let body = whole(response.into_body()).await.inspect_err(|_| user.home.hang_up())?;
        outcome.bytes += body.len() as u64;
        let turn: Turn<'_> = serde_json::from_slice(&body).map_err(|_| UNREADABLE)?;
        if let Some(error) = turn.replies.iter().find_map(|reply| reply.error.as_ref()) {
            return Err(error.fault());
        }
        let is_whole = turn.status == "completed"
            && turn.replies.len() >= self.personas.len().max(1)
            && turn.replies.iter().all(|reply| reply.status == "completed");
        is_whole.then_some(()).ok_or(Fault::of("turn_not_completed"))
    }

    /// `POST /chat/stream`.
    pub(super) async fn streamed(&self, user: &mut User, outcome: &mut Outcome) -> Result<(), Fault> {
        let body = user_body(self, user)?;
        let drop_after = self.drop_after(user);
        let response = user.home.ask(self.post("/api/v1/chat/stream", body, EVENTS)).await?;
        let mut followed = Followed::new(Some(turn_of(&response)?), outcome, drop_after);
        match read(response, &mut followed).await {
            Ok(Next::Done) => followed.finish(),
            how => {
                user.home.hang_up();
                self.resume(&mut user.away, how, followed).await
            }
        }
    }

    /// `POST /turns`, then its events from the next address.
    pub(super) async fn followed(&self, user: &mut User, outcome: &mut Outcome) -> Result<(), Fault> {
        let body = user_body(self, user)?;
        let drop_after = self.drop_after(user);
        let response = user.home.ask(self.post("/api/v1/turns", body, JSON)).await?;
        let turn = turn_of(&response)?.to_owned();
        whole(response.into_body()).await.inspect_err(|_| user.home.hang_up())?;

        let response = user.away.ask(get_events(&events_path(&turn), "")).await?;
        let mut followed = Followed::new(Some(&turn), outcome, drop_after);
        match read(response, &mut followed).await {
            Ok(Next::Done) => followed.finish(),
            how => {
                user.away.hang_up();
                self.resume(&mut user.away, how, followed).await
            }
        }
    }

    /// Goes on after a break: at once after one on purpose, with pauses after others.
    async fn resume(
        &self,
        client: &mut HttpClient,
        mut how: Result<Next, Fault>,
        mut followed: Followed<'_>,
    ) -> Result<(), Fault> {
        let mut attempts = 0;
        loop {
            match how {
                Ok(Next::Done) => return followed.finish(),
                Ok(Next::Drop | Next::Read) => {}
                Err(fault) if attempts < self.resume_attempts && is_passing(&fault) => {
                    followed.outcome.broken += u64::from(attempts == 0);
                    tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(attempts.min(5))).await;
                    attempts += 1;
                }
                Err(fault) => return followed.give_up(fault),
            }
            let (turn, after) = match followed.position() {
                Ok(position) => position,
                Err(fault) => return followed.give_up(fault),
            };
            how = match client.ask(get_events(&events_path(&turn), &after)).await {
                Ok(response) => read(response, &mut followed).await,
                Err(fault) => Err(fault),
            };
            if how != Ok(Next::Done) {
                client.hang_up();
            }
        }
    }

    fn post(&self, path: &'static str, body: Bytes, accept: &'static str) -> Ask<'static> {
        Ask { method: Method::POST, path, body, accept, header: None }
    }
}

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

fn user_body(chat: &Chat, user: &mut User) -> Result<Bytes, Fault> {
    serde_json::to_vec(&chat.request(user, None)).map(Bytes::from).map_err(|_| UNREADABLE)
}

/// The turn, as the headers name it before any event.
fn turn_of(response: &Response<Incoming>) -> Result<&str, Fault> {
    response.headers().get("turn-id").and_then(|turn| turn.to_str().ok()).ok_or(UNREADABLE)
}

fn events_path(turn: &str) -> String {
    format!("/api/v1/turns/{turn}/events")
}

fn get_events<'a>(path: &'a str, after: &'a str) -> Ask<'a> {
    let header = (!after.is_empty()).then_some(("last-event-id", after));
    Ask { method: Method::GET, path, body: Bytes::new(), accept: EVENTS, header }
}

/// A break that may be over soon: not a turn that is unknown or an event that never was.
fn is_passing(fault: &Fault) -> bool {
    fault.is_refusal || matches!(fault.status, None | Some(502 | 504))
}

/// Reads a stream until the turn ends or the connection is to be dropped.
async fn read(response: Response<Incoming>, followed: &mut Followed<'_>) -> Result<Next, Fault> {
    let mut body = response.into_body();
    let mut reader = SseReader::default();
    let mut done = Next::Read;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BROKEN)?.into_data() else { continue };
        followed.outcome.bytes += data.len() as u64;
        if !reader.feed(&data) {
            return Err(UNREADABLE);
        }
        while let Some(event) = reader.next_event() {
            match followed.take_sse(&event)? {
                Next::Drop => return Ok(Next::Drop),
                Next::Done => done = Next::Done,
                Next::Read => {}
            }
        }
    }
    // Read to its end, so that the connection can be kept and an event after the last would be seen.
    if done == Next::Done { Ok(done) } else { Err(TRUNCATED) }
}
