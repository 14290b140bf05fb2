//! Clients that stay with one replica for as long as it lets them, and what they saw.

use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use super::Service;
use crate::support::replicas::{Replica, Tale, event_of};
use crate::support::{Client, Socket, Sse, SseEvent};

/// Longer than a busy machine needs to notice a death and to go on: a bound for waiting, never a claim.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks two personas, in this conversation.
pub fn ask(conversation: &str) -> Value {
    json!({"message": "was Troy real?", "personas": ["historian", "skeptic"], "conversation_id": conversation})
}

/// Waits for something that may take as long as noticing a death.
pub async fn in_time(claim: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "never so: {claim}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// The epoch in an event's id.
pub fn epoch(id: &str) -> u64 {
    id.split_once('-').unwrap().0.parse().unwrap()
}

/// How many epochs a log has.
pub fn epochs(log: &[SseEvent]) -> usize {
    let mut epochs: Vec<_> = log.iter().map(|event| epoch(&event.id)).collect();
    epochs.dedup();
    epochs.len()
}

/// How many of these events have this name and are of this persona.
pub fn count(events: &[SseEvent], name: &str, persona: &str) -> usize {
    events.iter().filter(|event| event.name == name && event.data["persona"] == persona).count()
}

/// Everything the log has of a turn that has ended, as this replica tells it.
pub async fn log(replica: &Replica, turn: &str) -> Vec<SseEvent> {
    replica.client.resume(turn, "0-0").await.rest().await
}

/// The living replica that goes on with a turn in a later epoch than `before`, as its log line says.
pub async fn next_owner(service: &Service, turn: &str, before: u64) -> (usize, u64) {
    let mut found = None;
    in_time("somebody goes on with the turn", async || {
        let living = service.replicas.iter().enumerate().filter(|(_, replica)| replica.is_live());
        let taken = living.flat_map(|(at, replica)| {
            replica.logged("turn_taken_over").into_iter().map(move |line| (at, line))
        });
        let of_turn = taken.filter(|(_, line)| line["turn_id"] == turn);
        let epochs = of_turn.map(|(at, line)| (at, line["epoch"].as_u64().unwrap()));
        found = epochs.filter(|(_, epoch)| *epoch > before).max_by_key(|(_, epoch)| *epoch);
        found.is_some()
    })
    .await;
    found.unwrap()
}

enum Door {
    Stream(Sse),
    Socket(Socket),
}

/// A client that follows a turn at one door.
pub struct Witness {
    pub tale: Tale,
    door: Door,
}

impl Witness {
    /// Follows by an event stream from after what was seen.
    pub async fn by_stream(client: &Client, tale: Tale) -> Self {
        let stream = client.resume(&tale.turn, tale.last_id()).await;
        assert_eq!(stream.status, 200);
        Self { tale, door: Door::Stream(stream) }
    }

    /// Follows by a socket from after what was seen.
    pub async fn by_socket(client: &Client, tale: Tale) -> Self {
        let mut socket = client.socket().await;
        let resume = json!({"type": "resume", "ref": "w", "turn_id": tale.turn, "after": tale.last_id()});
        socket.send(resume).await;
        Self { tale, door: Door::Socket(socket) }
    }

    /// Follows a turn from its beginning at both doors.
    pub async fn at_both(client: &Client, turn: &str) -> [Self; 2] {
        let tale = || Tale { turn: turn.to_owned(), ..Tale::default() };
        [Self::by_stream(client, tale()).await, Self::by_socket(client, tale()).await]
    }

    /// Reads on until something holds of what was seen.
    pub async fn until(&mut self, holds: impl Fn(&[SseEvent]) -> bool) {
        while !holds(&self.tale.seen) {
            assert!(self.next().await, "cut off: {:#?}", self.tale);
        }
    }

    /// Reads on to the end of the turn, which comes at this door.
    pub async fn until_the_end(mut self) -> Tale {
        while !self.tale.has_ended() {
            assert!(self.next().await, "cut off: {:#?}", self.tale);
        }
        self.tale
    }

    /// Reads on until the door is shut.
    pub async fn until_cut(mut self) -> Tale {
        while self.next().await {}
        self.tale
    }

    /// Takes in one more event, if there is one.
    async fn next(&mut self) -> bool {
        let next = match &mut self.door {
            Door::Stream(stream) => stream.try_next().await.unwrap_or_default(),
            Door::Socket(socket) => next_event(socket).await,
        };
        let is_there = next.is_some();
        self.tale.seen.extend(next);
        is_there
    }
}

/// The next event of a socket, whatever else is said on it.
async fn next_event(socket: &mut Socket) -> Option<SseEvent> {
    loop {
        let mut frame = socket.next().await.ok()?;
        assert_ne!(frame["type"], "error", "{frame}");
        if frame.as_object_mut().unwrap().remove("ref").is_some() {
            return Some(event_of(frame));
        }
    }
}
