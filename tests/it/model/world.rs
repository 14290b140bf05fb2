//! A fleet on one store, and what can be done to it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use polylogue::config::{Config, Turns};
use polylogue::fleet::{LocalFleet, LocalPresence};
use polylogue::shutdown::Shutdown;
use polylogue::telemetry::metrics::Metrics;
use polylogue::turnlog::{Accepted, LiveTurns, NewTurn, TurnLog};
use polylogue::words::{
    ClientAddress, ConversationId, ConversationRef, Event, EventBody, EventId, Principal, ReplicaId,
    Timestamp, TurnId, new_ulid,
};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::value::RawValue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::link::{Link, Process, Weather};
use super::play::{self, Part};
use super::replica::Replica;
use super::store::{Mutant, Store};
use super::trace::Trace;

/// Replicas at a time.
pub const FLEET: usize = 3;

/// How long a turn may run, as the model's owners see it.
const DEADLINE: Duration = Duration::from_secs(120);

/// Nobody looks at them, and making them takes longer than a run.
static METRICS: LazyLock<Arc<Metrics>> = LazyLock::new(|| Arc::new(Metrics::new()));
static SETTINGS: LazyLock<Turns> = LazyLock::new(|| Config::default().turns);

pub fn settings() -> &'static Turns {
    &SETTINGS
}

pub struct World {
    pub store: Arc<Store>,
    pub weather: Arc<Weather>,
    pub trace: Trace,
    /// What belongs to no replica.
    pub tasks: Shutdown,
    fleet: Arc<LocalFleet>,
    slots: Mutex<Vec<Arc<Replica>>>,
    born: AtomicUsize,
    deadline: Instant,
    seed: u64,
}

impl World {
    pub fn new(seed: u64, mutant: Mutant, trace: Trace) -> Arc<Self> {
        let world = Self {
            store: Arc::new(Store::new(mutant, trace.clone())),
            weather: Arc::default(),
            trace,
            tasks: Shutdown::new(),
            fleet: Arc::default(),
            slots: Mutex::default(),
            born: AtomicUsize::new(0),
            deadline: Instant::now() + DEADLINE,
            seed,
        };
        let first = (0..FLEET).map(|_| world.another()).collect();
        *world.slots.lock().unwrap() = first;
        Arc::new(world)
    }

    /// A source of chance for one part of the run, whatever the other parts do with theirs.
    pub fn rng(&self, part: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ part)
    }

    /// Starts a process.
    fn another(&self) -> Arc<Replica> {
        let number = self.born.fetch_add(1, Relaxed);
        let me: ReplicaId = format!("r{number}").parse().unwrap();
        let link = Arc::new(Link {
            me: me.clone(),
            store: Arc::clone(&self.store),
            process: Process::new(),
            weather: Arc::clone(&self.weather),
            stray: AtomicBool::new(false),
            cut_off: AtomicUsize::new(0),
            rng: Mutex::new(self.rng(1000 + number as u64)),
            tasks: self.tasks.clone(),
            trace: self.trace.clone(),
        });
        let (log, shutdown): (Arc<dyn TurnLog>, _) = (Arc::clone(&link) as _, Shutdown::new());
        let live = LiveTurns::new(log, settings().clone(), Arc::clone(&METRICS), shutdown.clone());
        let replica = Arc::new(Replica {
            link,
            live,
            shutdown,
            presence: LocalPresence::new(Arc::clone(&self.fleet), me, *settings().lease),
            doubtful: Mutex::default(),
            deadline: self.deadline,
            seed: self.seed ^ (number as u64) << 48,
        });
        replica.spawn(Arc::clone(&replica).tend());
        replica
    }

    pub fn replica(&self, slot: usize) -> Arc<Replica> {
        Arc::clone(&self.slots.lock().unwrap()[slot])
    }

    pub fn slot_of(&self, me: &ReplicaId) -> Option<usize> {
        self.slots.lock().unwrap().iter().position(|replica| replica.me() == me)
    }

    /// Puts a new process where another has died, unless somebody did so before.
    pub fn replace(&self, slot: usize) {
        if !self.replica(slot).link.process.is_dead() {
            return;
        }
        let new = self.another();
        self.trace.note(|| format!("{} starts", new.me()));
        self.slots.lock().unwrap()[slot] = new;
    }

    /// Some process that a load balancer would choose; it may stand still or be cut off.
    pub fn any_replica(&self, rng: &mut StdRng) -> Option<Arc<Replica>> {
        let slots = self.slots.lock().unwrap();
        let open: Vec<_> = slots.iter().filter(|replica| replica.is_open()).collect();
        (!open.is_empty()).then(|| Arc::clone(open[rng.random_range(0..open.len())]))
    }

    pub fn all(&self) -> Vec<Arc<Replica>> {
        self.slots.lock().unwrap().clone()
    }

    /// Begins a turn as a client would that tries until it is accepted.
    pub async fn begin(&self, conversation: &str, rng: &mut StdRng) -> TurnId {
        loop {
            if let Some(replica) = self.any_replica(rng)
                && let Some(Some(turn)) = replica.link.process.within(begin_at(&replica, conversation)).await
            {
                return turn;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

/// Begins a turn on this replica, if it is not too ill for that.
async fn begin_at(replica: &Arc<Replica>, conversation: &str) -> Option<TurnId> {
    if !replica.is_open() {
        return None;
    }
    let place = replica.live.try_reserve().ok()?;
    let new = new_turn(replica, &conversation.parse().unwrap());
    let mut accepted = replica.link.accept(new.clone()).await;
    while accepted.is_err() && replica.is_open() {
        tokio::time::sleep(Duration::from_millis(200)).await;
        accepted = replica.link.accept(new.clone()).await;
    }
    let claim = match accepted.ok()? {
        Accepted::Ok(claim) => claim,
        Accepted::Same(turn) | Accepted::Busy(turn) => return Some(turn),
        Accepted::OtherBody => return None,
    };
    let stop = CancellationToken::new();
    let live = replica.live.begin(place, claim, new.page(), stop.clone());
    let so_far = polylogue::turnlog::fold(&live.page().record, &live.page().events);
    let rng = StdRng::seed_from_u64(replica.seed ^ 1);
    replica.spawn(play::run(Part { replica: Arc::clone(replica), live, stop, rng }, so_far));
    Some(new.turn)
}

fn new_turn(replica: &Replica, conversation: &ConversationId) -> NewTurn {
    let now = Timestamp::now().as_millis();
    let turn = TurnId::new(new_ulid(now), conversation);
    let started = EventBody::TurnStarted {
        conversation: ConversationRef { id: conversation.clone(), created: true },
        message_id: turn.user_message(),
        degraded: false,
    };
    NewTurn {
        turn,
        conversation: conversation.clone(),
        principal: Principal::Address(ClientAddress::from(IpAddr::from([192, 0, 2, 7]))),
        owner: replica.me().clone(),
        deadline: Timestamp::from_millis(now + DEADLINE.as_millis() as u64),
        request: RawValue::from_string(r#"{"message":"was Troy real?"}"#.to_owned()).unwrap().into(),
        first: Arc::new(Event::new(EventId::before(1).next(), turn, started)),
        idempotency: None,
    }
}
