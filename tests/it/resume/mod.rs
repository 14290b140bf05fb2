//! Who loses a stream goes on exactly where it broke (`state.md` §4), over real connections.

mod boundaries;
mod crowd;
mod positions;
mod slow;

use serde_json::{Value, json};

use crate::support::{Client, Socket, SseEvent, eventually};

/// The ways to ask for what follows an event.
#[derive(Clone, Copy, Debug)]
enum Door {
    Header,
    Query,
    Socket,
}

const DOORS: [Door; 3] = [Door::Header, Door::Query, Door::Socket];

/// A reader that went on after some event, behind one of the doors.
enum Reader {
    Stream(crate::support::Sse),
    Socket(Box<Socket>),
}

impl Reader {
    async fn open(client: &Client, door: Door, turn: &str, after: &str) -> Self {
        match door {
            Door::Header => Self::Stream(client.resume(turn, after).await),
            Door::Query => Self::Stream(client.follow(&format!("{turn}/events?after={after}")).await),
            Door::Socket => {
                let mut socket = client.socket().await;
                socket.send(resume(turn, after)).await;
                Self::Socket(Box::new(socket))
            }
        }
    }

    /// Every event still to come, as data.
    async fn rest(self) -> Vec<Value> {
        match self {
            Self::Stream(stream) => data(stream.rest().await),
            Self::Socket(mut socket) => {
                let mut seen = Vec::new();
                loop {
                    let mut frame = socket.next().await.unwrap();
                    assert_eq!(frame.as_object_mut().unwrap().remove("ref"), Some(json!("again")), "{frame}");
                    let ends = is_terminal(&frame);
                    seen.push(frame);
                    if ends {
                        return seen;
                    }
                }
            }
        }
    }
}

/// Waits until every persona of the turn has said something, so that a model told to go on has begun.
async fn all_speak(client: &Client, turn: &str) {
    let speaks = |reply: &Value| reply["content"].as_str().is_some_and(|content| !content.is_empty());
    eventually("everybody has said something", async || {
        let turn = client.get(&format!("/api/v1/turns/{turn}")).await.body;
        turn["replies"].as_array().is_some_and(|replies| !replies.is_empty() && replies.iter().all(speaks))
    })
    .await;
}

fn resume(turn: &str, after: &str) -> Value {
    json!({"type": "resume", "ref": "again", "turn_id": turn, "after": after})
}

fn is_terminal(event: &Value) -> bool {
    ["turn.completed", "turn.failed", "turn.cancelled"].map(Value::from).contains(&event["type"])
}

fn data(events: Vec<SseEvent>) -> Vec<Value> {
    events.into_iter().map(|event| event.data).collect()
}

fn id(event: &Value) -> &str {
    event["id"].as_str().unwrap()
}

fn ask(personas: &[&str]) -> Value {
    json!({"message": "was Troy real?", "personas": personas})
}
