use std::fmt::Display;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::super::{Client, Socket, Sse, SseEvent};
use super::Tale;

/// How long it follows a turn before it gives up: a turn's deadline is no longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long it waits for an answer before it turns to somebody else.
const ANSWER: Duration = Duration::from_secs(2);

/// A client that never stays: it follows a turn from one replica to any other, by streams and by sockets, through
/// whatever happens to them. The same seed takes the same ways.
pub struct Wanderer {
    seed: u64,
    rng: StdRng,
    clients: Vec<Client>,
}

/// A visit, as it was decided before.
struct Visit<'a> {
    tale: &'a mut Tale,
    address: Client,
    /// How many events it stays for, and how long in silence.
    events: usize,
    silence: Duration,
}

impl Wanderer {
    /// Knows these addresses, dead or alive.
    pub fn new(seed: u64, addresses: &[String]) -> Self {
        let clients = addresses.iter().map(|address| Client::of(address)).collect();
        Self { seed, rng: StdRng::seed_from_u64(seed), clients }
    }

    /// Follows a turn from its start to its end.
    pub async fn follow(&mut self, turn: &str) -> Tale {
        let mut tale = Tale { turn: turn.to_owned(), ..Tale::default() };
        let began = Instant::now();
        while !tale.has_ended() {
            assert!(began.elapsed() < PATIENCE, "seed {}: no end in sight: {tale:#?}", self.seed);
            let before = tale.visits;
            self.visit(&mut tale).await;
            if tale.visits == before {
                sleep(Duration::from_millis(self.rng.random_range(5..50))).await;
            }
        }
        tale
    }

    async fn visit(&mut self, tale: &mut Tale) {
        let visit = Visit {
            tale,
            address: self.clients.choose(&mut self.rng).unwrap().clone(),
            events: self.rng.random_range(1..12),
            silence: Duration::from_millis(self.rng.random_range(100..1500)),
        };
        let left = if self.rng.random() { visit.by_stream().await } else { visit.by_socket().await };
        if let Err(reason) = left {
            *tale.turned_away.entry(reason).or_default() += 1;
        }
    }
}

impl Visit<'_> {
    async fn by_stream(self) -> Result<(), String> {
        let url = self.address.url(&format!("/api/v1/turns/{}/events", self.tale.turn));
        let request = self.address.client.get(url).header("Last-Event-ID", self.tale.last_id());
        let answer = timeout(ANSWER, request.send()).await.map_err(said)?.map_err(|_| "not reached")?;
        if answer.status() != 200 {
            let code = answer.headers().get("problem-code").map(|code| code.to_str().unwrap().to_owned());
            return Err(code.unwrap_or_else(|| answer.status().to_string()));
        }
        self.tale.visits += 1;
        let mut stream = Sse::of(answer);
        for _ in 0..self.events {
            match timeout(self.silence, stream.try_next()).await {
                Ok(Ok(Some(event))) => self.tale.seen.push(event),
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(_)) => return Err("cut".into()),
                Err(_) => return Err("silence".into()),
            }
        }
        Ok(())
    }

    async fn by_socket(self) -> Result<(), String> {
        let host = self.address.base.trim_start_matches("http://");
        let socket = timeout(ANSWER, Socket::try_open(host)).await.map_err(said)?;
        let mut socket = socket.map_err(|_| "not reached")?;
        self.tale.visits += 1;
        let resume =
            json!({"type": "resume", "ref": "w", "turn_id": self.tale.turn, "after": self.tale.last_id()});
        socket.try_send(resume).await.map_err(|_| "cut")?;
        let mut stay = self.events;
        while stay > 0 && !self.tale.has_ended() {
            let frame = timeout(self.silence, socket.next()).await.map_err(|_| "silence")?;
            let mut frame = frame.map_err(|_| "cut")?;
            if frame["type"] == "error" {
                return Err(frame["error"]["code"].as_str().unwrap_or_default().to_owned());
            }
            if frame.as_object_mut().unwrap().remove("ref").is_some() {
                self.tale.seen.push(event_of(frame));
                stay -= 1;
            }
        }
        Ok(())
    }
}

fn said(error: impl Display) -> String {
    error.to_string()
}

/// What a socket says of an event is what a stream says of it.
pub fn event_of(data: Value) -> SseEvent {
    let [id, name] = ["id", "type"].map(|member| data[member].as_str().unwrap().to_owned());
    SseEvent { id, name, data }
}
