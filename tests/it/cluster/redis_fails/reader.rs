use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::support::SseEvent;
use crate::support::replicas::{Replica, Tale};

/// Longer than any fault of these tests and any turn, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody who follows a turn where he is, and never asks again or elsewhere.
pub struct Reader {
    /// The replica where that is.
    pub at: usize,
    turn: String,
    seen: watch::Receiver<Seen>,
    #[expect(dead_code, reason = "it stops when it is dropped")]
    task: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Seen {
    events: Vec<SseEvent>,
    /// How the stream ended, if it has.
    end: Option<Result<(), String>>,
}

impl Reader {
    /// Begins to read the turn from its start, as soon as this replica can tell it; one that was begun without Redis is not
    /// known elsewhere at first.
    pub async fn of(turn: &str, replicas: &[Replica], at: usize, was_alone: bool) -> Self {
        let mut stream = replicas[at].client.resume(turn, "0-0").await;
        let began = Instant::now();
        while (stream.status == 503 || (was_alone && stream.status == 404)) && began.elapsed() < PATIENCE {
            sleep(Duration::from_millis(50)).await;
            stream = replicas[at].client.resume(turn, "0-0").await;
        }
        assert_eq!(stream.status, 200, "{turn} cannot be followed on {at}");
        let (tell, seen) = watch::channel(Seen::default());
        let mut task = JoinSet::new();
        task.spawn(async move {
            while tell.borrow().end.is_none() {
                match stream.try_next().await {
                    Ok(Some(event)) => tell.send_modify(|seen| seen.events.push(event)),
                    end => tell.send_modify(|seen| seen.end = Some(end.map(drop).map_err(|e| e.to_string()))),
                }
            }
        });
        Self { at, turn: turn.to_owned(), seen, task }
    }

    /// Waits until so many more events were seen, or all.
    pub async fn sees_more(&self, more: usize) {
        let goal = self.seen.borrow().events.len() + more;
        self.wait_until(|seen| seen.events.len() >= goal || seen.end.is_some()).await;
    }

    /// Waits for the first event of this name.
    pub async fn has_seen(&self, name: &str) -> SseEvent {
        let found = |seen: &Seen| seen.events.iter().find(|event| event.name == name).cloned();
        self.wait_until(|seen| found(seen).is_some() || seen.end.is_some()).await;
        let found = found(&self.seen.borrow());
        found.unwrap_or_else(|| panic!("no {name} in {}", self.turn))
    }

    /// Waits until the stream has ended.
    pub async fn has_ended(&self) {
        self.wait_until(|seen| seen.end.is_some()).await;
    }

    /// Waits until the stream has ended; what was seen of the turn without ever asking again.
    pub async fn tale(&self) -> Tale {
        self.has_ended().await;
        let seen = self.seen.borrow();
        assert_eq!(seen.end, Some(Ok(())), "a stream of {} broke after {:?}", self.turn, seen.events.last());
        Tale { turn: self.turn.clone(), seen: seen.events.clone(), visits: 1, ..Tale::default() }
    }

    async fn wait_until(&self, holds: impl Fn(&Seen) -> bool) {
        let mut seen = self.seen.clone();
        let waited =
            timeout(PATIENCE, seen.wait_for(|seen| holds(seen))).await.map(|seen| drop(seen.unwrap()));
        waited.unwrap_or_else(|_| {
            panic!("{} stands still: {:#?}", self.turn, self.seen.borrow().events.last())
        });
    }
}
