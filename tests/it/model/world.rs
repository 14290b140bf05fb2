//! A fleet on one store, and what can be done to it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use polylogue::config::{Config, Turns};
use polylogue::fleet::{LocalFleet, LocalPresence, Presence as _};
use polylogue::shutdown::Shutdown;
use polylogue::telemetry::metrics::Metrics;
use polylogue::turnlog::{Accepted, LiveTurns, NewTurn, TurnLog, fold};
use polylogue::words::{
    ClientAddress, ConversationKey, ConversationRef, Event, EventBody, EventId, Principal, ReplicaId,
    Timestamp, TurnId, new_ulid,
};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::link::{Link, Process, Weather};
use super::play::{self, Part};
use super::replica::{Graves, Replica};
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
    /// All clients have seen the end of their turns.
    pub seen: CancellationToken,
    fleet: Arc<LocalFleet>,
    graves: Graves,
    slots: Mutex<Vec<Arc<Replica>>>,
    /// Every process there ever was.
    everybody: Mutex<Vec<Arc<Replica>>>,
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
            seen: CancellationToken::new(),
            fleet: Arc::default(),
            graves: Graves::default(),
            slots: Mutex::default(),
            everybody: Mutex::default(),
            born: AtomicUsize::new(0),
            deadline: Instant::now() + DEADLINE,
            seed,
        };
        let first = (0..FLEET).map(|_| world.another()).collect();
        *world.slots.lock().unwrap() = first;
        Arc::new(world)
    }

    /// A source of chance for one part of the run, whatever the other parts do with theirs.
    pub fn rng(&self, part: u64) -> SmallRng {
        SmallRng::seed_from_u64(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ part)
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
            strays: AtomicUsize::new(0),
            cut_off: AtomicUsize::new(0),
            doubts: watch::Sender::default(),
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
            lookout: Mutex::default(),
            was_heard_of: AtomicBool::new(false),
            graves: Arc::clone(&self.graves),
            deadline: self.deadline,
            seed: self.seed ^ (number as u64) << 48,
        });
        replica.spawn(Arc::clone(&replica).tend());
        self.everybody.lock().unwrap().push(Arc::clone(&replica));
        replica
    }

    pub fn replica(&self, slot: usize) -> Arc<Replica> {
        Arc::clone(&self.slots.lock().unwrap()[slot])
    }

    pub fn busy_slot(&self) -> Option<usize> {
        let slots = self.slots.lock().unwrap();
        slots.iter().position(|replica| replica.is_open() && !replica.live.all().is_empty())
    }

    pub fn lives(&self, me: &ReplicaId) -> bool {
        self.slot_of(me).is_some_and(|slot| self.replica(slot).is_open())
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
    pub fn any_replica(&self, rng: &mut SmallRng) -> Option<Arc<Replica>> {
        let slots = self.slots.lock().unwrap();
        let open: Vec<_> = slots.iter().filter(|replica| replica.is_open()).collect();
        (!open.is_empty()).then(|| Arc::clone(open[rng.random_range(0..open.len())]))
    }

    pub fn all(&self) -> Vec<Arc<Replica>> {
        self.slots.lock().unwrap().clone()
    }

    /// The store goes on from an older copy, which tells of replicas that have said goodbye since.
    pub async fn fail_over(&self, behind: Duration) -> usize {
        let everybody = self.everybody.lock().unwrap().clone();
        for replica in everybody.iter().filter(|replica| replica.left_within(behind)) {
            replica.presence.beat().await.unwrap();
        }
        self.store.fail_over(behind)
    }

    /// Everybody hears that the store is back.
    pub fn store_is_back(&self) {
        self.all().iter().for_each(|replica| replica.link.is_back());
    }

    /// The store comes back empty.
    pub fn lose_everything(&self) {
        self.store.forget_everything();
        for replica in self.all() {
            replica.link.doubts.send_modify(|seen| seen.losses += 1);
        }
    }

    /// Begins a turn as a client would that tries until it is accepted.
    pub async fn begin(&self, conversation: &str, rng: &mut SmallRng) -> TurnId {
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

/// Begins a turn on this replica, as the chat service does: without the log, if that cannot be asked.
async fn begin_at(replica: &Arc<Replica>, conversation: &str) -> Option<TurnId> {
    if !replica.is_open() {
        return None;
    }
    let place = replica.live.try_reserve().ok()?;
    let new = new_turn(replica, &conversation.parse().unwrap());
    let stop = CancellationToken::new();
    let live = match replica.link.accept(new.clone()).await {
        Ok(Accepted::Ok(claim)) => replica.live.begin(place, claim, new.page(), stop.clone()),
        Ok(Accepted::Same(turn) | Accepted::Busy(turn)) => return Some(turn),
        Ok(Accepted::OtherBody) => return None,
        Err(error) => {
            // What others may see already must be what is seen here.
            let new = if error.leaves_doubt() { new.clone() } else { new.clone().degraded() };
            replica.live.begin_alone(place, &new, stop.clone()).ok()?
        }
    };
    replica.link.trace.note(|| format!("{} begins {}, alone: {}", replica.me(), new.turn, live.is_alone()));
    let page = live.page();
    let so_far = fold(&page.record, &page.events);
    let rng = SmallRng::seed_from_u64(replica.seed ^ 1);
    replica.spawn(play::run(Part { replica: Arc::clone(replica), live, stop, rng }, so_far));
    Some(new.turn)
}

fn new_turn(replica: &Replica, conversation: &ConversationKey) -> NewTurn {
    let now = Timestamp::now().as_millis();
    let turn = TurnId::new(new_ulid(now), conversation);
    let started = EventBody::TurnStarted {
        conversation: ConversationRef { id: conversation.id().clone(), created: true },
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
