//! Clients that follow a turn through everything: they leave when they like, come back anywhere, and forget some of what
//! they saw.

use std::sync::Arc;
use std::time::Duration;

use polylogue::turnlog::{ReadError, Reader};
use polylogue::words::{Event, TurnId};
use rand::Rng as _;
use rand::rngs::SmallRng;

use super::replica::Replica;
use super::world::World;

/// How long a client hears nothing, not even a comment, before it connects elsewhere.
const PATIENCE: Duration = Duration::from_secs(15);

/// So often a client asks for a turn that nobody knows before it gives up.
const ASKS: usize = 60;

/// What one client has in front of it in the end.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub events: Vec<Arc<Event>>,
    /// It was told once that its position means nothing, and began anew.
    pub was_refused: bool,
    /// It was at a replica that may have lost its turns without knowing it.
    pub met_a_stray: bool,
    /// After the end of the turn it was told of more.
    pub saw_an_end_taken_back: bool,
    /// Its turn is not known any more.
    pub gave_up: bool,
}

/// What a connection came to.
enum Stay {
    Left,
    Refused,
    Unknown,
    Ended,
}

pub struct Client {
    pub name: String,
    pub turn: TurnId,
    pub rng: SmallRng,
    pub seen: Seen,
}

impl Client {
    /// Follows the turn to its end.
    pub async fn follow(mut self, world: &World) -> Seen {
        let mut unknown = 0;
        loop {
            let stay = match world.any_replica(&mut self.rng) {
                Some(replica) => self.stay_at(&replica).await,
                None => Stay::Left,
            };
            match stay {
                Stay::Left => unknown = 0,
                Stay::Ended => return self.seen,
                Stay::Refused => {
                    self.seen.was_refused = true;
                    self.seen.events.clear();
                }
                Stay::Unknown if unknown == ASKS => {
                    self.seen.gave_up = true;
                    return self.seen;
                }
                Stay::Unknown => unknown += 1,
            }
            self.rest().await;
            self.forget_some();
        }
    }

    /// Stays away for a while: nearly not, or until much has happened.
    async fn rest(&mut self) {
        let most = [1, 50, 1000, 12_000][self.rng.random_range(0..4)];
        tokio::time::sleep(Duration::from_millis(self.rng.random_range(1..=most))).await;
    }

    /// A page that was reloaded remembers less than it was told.
    fn forget_some(&mut self) {
        if self.rng.random_bool(0.2) {
            let kept = self.rng.random_range(0..=self.seen.events.len());
            self.seen.events.truncate(kept);
        }
    }

    async fn stay_at(&mut self, replica: &Arc<Replica>) -> Stay {
        let process = replica.link.process.clone();
        let position = self.seen.events.last().map(|event| event.id);
        let trace = &replica.link.trace;
        trace.note(|| format!("{} asks {} for what follows {position:?}", self.name, replica.me()));
        let opened = process.within(replica.live.open(self.turn, position));
        let opened = match tokio::time::timeout(PATIENCE, opened).await {
            Ok(Some(Ok(opened))) => opened,
            Ok(Some(Err(error))) => return self.refused(&error),
            Ok(None) | Err(_) => return Stay::Left,
        };
        match opened {
            Some(reader) => {
                let stay = process.within(self.read(replica, reader)).await;
                stay.unwrap_or(Stay::Left)
            }
            None => Stay::Ended,
        }
    }

    async fn read(&mut self, replica: &Replica, mut reader: Reader) -> Stay {
        let stays_for = if self.rng.random_bool(0.4) { usize::MAX } else { self.rng.random_range(0..25) };
        for _ in 0..stays_for {
            let next = async {
                let next = reader.next().await;
                replica.link.process.runs().await;
                next
            };
            match tokio::time::timeout(PATIENCE, next).await {
                Ok(Ok(Some(event))) => {
                    self.seen.met_a_stray |= replica.link.is_stray();
                    self.take_back_an_end();
                    replica.link.trace.note(|| format!("{} sees {}", self.name, told(&event)));
                    let ends = event.body.is_terminal();
                    self.seen.events.push(event);
                    // Some come back, to hear that nothing follows.
                    if ends && self.rng.random_bool(0.7) {
                        return Stay::Ended;
                    }
                }
                Ok(Ok(None)) => return Stay::Ended,
                Ok(Err(error)) => return self.refused(&error),
                // A replica that stands still says nothing; a slow turn is only followed elsewhere.
                Err(_) => return Stay::Left,
            }
        }
        Stay::Left
    }

    /// What follows an end takes it back: it was that of an owner who did not know that the turn is another's.
    fn take_back_an_end(&mut self) {
        if self.seen.events.last().is_some_and(|last| last.body.is_terminal()) {
            self.seen.events.pop();
            self.seen.saw_an_end_taken_back = true;
        }
    }

    fn refused(&self, error: &ReadError) -> Stay {
        match error {
            ReadError::TurnUnknown => Stay::Unknown,
            ReadError::EventUnknown => Stay::Refused,
            ReadError::Unavailable(_) => Stay::Left,
        }
    }
}

pub fn told(event: &Event) -> String {
    let json = String::from_utf8_lossy(event.json());
    let body = json.split_once("\"time\"").map_or("", |(_, rest)| rest);
    format!("{} {} {:.60}", event.id, event.body.name(), body.get(28..).unwrap_or_default())
}
