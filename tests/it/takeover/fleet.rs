//! Replicas that share everything, each on a runtime of its own, so that one can die or stand still alone.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use polylogue::app::Seams;
use polylogue::config::Config;
use polylogue::fleet::{LocalFleet, LocalPresence};
use polylogue::telemetry::metrics::{Metrics, Takeover};
use polylogue::words::ReplicaId;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::contract::turnlog::flaky::FlakyLog;
use crate::support::{SseEvent, TestApp, config, eventually, span};

/// One service. Its replicas find each other dead soon.
pub struct Fleet {
    config: Config,
    seams: Seams,
    fleet: Arc<LocalFleet>,
}

impl Fleet {
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let config = config(|config| {
            (config.turns.beat, config.turns.lease) = (span(50), span(600));
            change(config);
        });
        let seams = Seams::local(&config, &ReplicaId::random(), &Arc::new(Metrics::new()));
        Self { config, seams, fleet: Arc::default() }
    }

    /// The same with a turn log that goes wrong on demand.
    pub fn on(log: Arc<FlakyLog>) -> Self {
        let mut fleet = Self::new();
        fleet.seams.log = log;
        fleet
    }

    /// Starts one more replica.
    pub async fn replica(&self, name: &str) -> Replica {
        let name: ReplicaId = name.parse().unwrap();
        let presence = LocalPresence::new(Arc::clone(&self.fleet), name.clone(), *self.config.turns.lease);
        let seams = Seams { presence: Arc::new(presence), ..self.seams.clone() };
        // One thread, which is what has to be held up for all of it to stand still.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let start = TestApp::on(self.config.clone(), name, seams, Arc::new(Metrics::new()));
        let app = runtime.spawn(start).await.unwrap();
        Replica { app, runtime: OwnRuntime(Some(runtime)) }
    }
}

/// A replica; it crashes when dropped.
pub struct Replica {
    app: TestApp,
    runtime: OwnRuntime,
}

struct OwnRuntime(Option<Runtime>);

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl Replica {
    /// Everything of it is gone at once, its connections too, and nobody is told.
    pub fn crash(self) {
        drop(self);
    }

    /// Stops as it should; true if everything ended in time.
    pub async fn stop(self) -> bool {
        let Self { app: TestApp { app, .. }, runtime } = self;
        app.services().shutdown.ask();
        runtime.0.as_ref().unwrap().spawn(app.stopped()).await.unwrap()
    }

    /// Nothing of it moves until what is returned is dropped, and it does not notice.
    pub fn stall(&self) -> Stall {
        let (stalled, is_stalled) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        drop(self.runtime.0.as_ref().unwrap().spawn(async move {
            stalled.send(()).unwrap();
            // Fails when it is released: that is how.
            let _ = released.recv();
        }));
        is_stalled.recv_timeout(Duration::from_secs(10)).unwrap();
        Stall(release)
    }

    /// How many turns it took over from the dead.
    pub fn takeovers(&self) -> u64 {
        self.app.app.services().metrics.turns.takeovers.get(&(Takeover::Died,))
    }

    /// The turn as this replica tells it.
    pub async fn turn(&self, turn: &str) -> Value {
        self.get(&format!("/api/v1/turns/{turn}")).await.body
    }

    /// Waits until the turn has ended, and returns it.
    pub async fn ended(&self, turn: &str) -> Value {
        eventually("the turn has ended", async || self.turn(turn).await["status"] != "running").await;
        self.turn(turn).await
    }

    /// Everything the log has of the turn.
    pub async fn log(&self, turn: &str) -> Vec<SseEvent> {
        self.resume(turn, "0-0").await.rest().await
    }
}

impl Deref for Replica {
    type Target = TestApp;
    fn deref(&self) -> &TestApp {
        &self.app
    }
}

/// A standstill.
pub struct Stall(#[expect(dead_code, reason = "it counts that it is there")] mpsc::Sender<()>);

pub fn names(events: &[SseEvent]) -> Vec<&str> {
    events.iter().map(|event| event.name.as_str()).collect()
}

pub fn ask(conversation: &str, personas: &[&str]) -> Value {
    json!({"message": "was Troy real?", "personas": personas, "conversation_id": conversation})
}
