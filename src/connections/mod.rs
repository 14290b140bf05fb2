//! Every open socket: who may have one, how long, and how all of them end together.
//!
//! Names no web framework: `http::ws` asks for a [`Place`] before the upgrade, opens it as a [`Connection`] after it,
//! and does what [`Connection::due`] says.

mod heartbeat;
mod open;
mod orders;
mod place;
mod roster;
mod tickets;
mod upkeep;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use open::{Connection, Due};
pub use place::Place;
pub use roster::{Here, Seen};
pub use tickets::{Redeemed, TICKET_TTL, Ticket, Unredeemed};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::config::{Config, WebSocket, WhenFull};
use crate::limits::{Admission, Leases};
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::{Label as _, LeaseKind, Metrics, SocketEnd, SocketRefusal};
use crate::words::{ClientAddress, ConnectionId, Principal, PrincipalHash, Timestamp, new_ulid};
use orders::Line;
use tickets::Tickets;

/// The manager of this replica's sockets. Made once; sockets keep it alive.
pub struct Connections {
    settings: Settings,
    leases: Arc<dyn Leases>,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    register: Mutex<Register>,
    tickets: Tickets,
    /// One token for each place, so that the stop can wait for all of them.
    places: TaskTracker,
}

/// What the manager goes by.
#[derive(Clone, Debug)]
struct Settings {
    websocket: WebSocket,
    close_spread: Duration,
    /// Nothing that lives gives no sign of life for this long.
    stale_after: Duration,
}

/// Every place of this replica.
#[derive(Default)]
struct Register {
    entries: HashMap<ConnectionId, Entry>,
    /// Whether new places are refused because the replica is stopping.
    is_closed: bool,
}

/// One place, as the manager sees it.
struct Entry {
    principal: Principal,
    hash: PrincipalHash,
    /// The client's address, cut as logs show it, where it is known.
    client: Option<String>,
    line: Arc<Line>,
    lease: Lease,
}

impl Entry {
    fn new(principal: &Principal, line: &Arc<Line>) -> Self {
        let client = match principal {
            Principal::Address(address) => Some(address.cut()),
            Principal::Key(_) | Principal::Subject(_) => None,
        };
        let hash = PrincipalHash::of(principal);
        Self { principal: principal.clone(), hash, client, line: Arc::clone(line), lease: Lease::Asked }
    }
}

/// How far a place's lease is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lease {
    /// Asked for; it may have been granted without our knowing. Not to be renewed, but to be given back.
    Asked,
    /// Granted.
    Held,
    /// Refused.
    None,
}

/// Why somebody gets no socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// This caller has all the sockets it may have.
    #[error("the caller has {most} sockets already")]
    PerClient {
        /// How many that are.
        most: usize,
        /// When one of them may become free at the latest.
        retry_after: Duration,
    },
    /// This replica has all the sockets it can hold.
    #[error("the replica has all the sockets it can hold")]
    Total,
    /// This replica is stopping.
    #[error("the replica is stopping")]
    Draining,
}

impl Refused {
    /// The reason as metrics and logs name it.
    pub fn reason(&self) -> SocketRefusal {
        match self {
            Self::PerClient { .. } => SocketRefusal::PerClient,
            Self::Total => SocketRefusal::Total,
            Self::Draining => SocketRefusal::Draining,
        }
    }
}

/// How many sockets there are, for `/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Sockets and held places.
    pub total: usize,
    /// Callers that have at least one.
    pub principals: usize,
}

impl Connections {
    /// Starts managing: from here on leases are renewed and stale entries removed, until the replica stops.
    pub fn start(
        config: &Config,
        leases: Arc<dyn Leases>,
        metrics: Arc<Metrics>,
        shutdown: Shutdown,
    ) -> Arc<Self> {
        let manager = Self::new(config, leases, metrics, shutdown.clone());
        shutdown.spawn(upkeep::run(manager.clone()));
        manager
    }

    /// Makes a manager that decides, but whose leases nobody renews: all there is left of a replica that crashed.
    pub fn new(
        config: &Config,
        leases: Arc<dyn Leases>,
        metrics: Arc<Metrics>,
        shutdown: Shutdown,
    ) -> Arc<Self> {
        let settings = Settings::from(config);
        let limit = i64::try_from(settings.websocket.max_total.get()).unwrap_or(i64::MAX);
        metrics.websocket.limit.set(&(), limit);
        SocketEnd::ALL.iter().for_each(|end| metrics.websocket.closed.touch(&(*end,)));
        SocketRefusal::ALL.iter().for_each(|reason| metrics.websocket.rejected.touch(&(*reason,)));
        Arc::new(Self {
            settings,
            leases,
            metrics,
            shutdown,
            register: Mutex::default(),
            tickets: Tickets::default(),
            places: TaskTracker::new(),
        })
    }

    /// Decides whether this caller may have one more socket, and holds its place.
    pub async fn admit(self: &Arc<Self>, principal: &Principal) -> Result<Place, Refused> {
        let admitted = self.try_admit(principal).await;
        if let Err(refused) = &admitted {
            self.rejected(principal, refused);
        }
        admitted
    }

    async fn try_admit(self: &Arc<Self>, principal: &Principal) -> Result<Place, Refused> {
        let place = self.reserve(ConnectionId(new_ulid(Timestamp::now().as_millis())), principal)?;
        let most = self.settings.websocket.max_per_client.get();
        let replace = self.settings.websocket.when_full == WhenFull::ReplaceOldest;
        match self.leases.admit(principal, place.id(), most, self.settings.lease(), replace).await {
            Admission::Granted { replaced } => {
                self.granted(place.id(), replaced);
                Ok(place)
            }
            Admission::Full { retry_after } => {
                self.set_lease(place.id(), Lease::None);
                Err(Refused::PerClient { most, retry_after })
            }
        }
    }

    /// Takes one of this replica's places, before anybody else is asked; dropping the place undoes all of it.
    fn reserve(self: &Arc<Self>, id: ConnectionId, principal: &Principal) -> Result<Place, Refused> {
        let line = Arc::new(Line::new());
        let mut register = self.register();
        if register.is_closed {
            return Err(Refused::Draining);
        }
        if register.entries.len() >= self.settings.websocket.max_total.get() {
            return Err(Refused::Total);
        }
        let entry = Entry::new(principal, &line);
        register.entries.insert(id, entry);
        drop(register);
        self.metrics.leases.held.add(&(LeaseKind::Socket,), 1);
        Ok(Place::new(self.clone(), id, principal.clone(), line))
    }

    fn granted(&self, id: ConnectionId, replaced: Option<ConnectionId>) {
        self.set_lease(id, Lease::Held);
        let register = self.register();
        if let Some(oldest) = replaced.and_then(|id| register.entries.get(&id)) {
            oldest.line.give(orders::Order::Replaced);
        }
    }

    fn set_lease(&self, id: ConnectionId, lease: Lease) {
        if let Some(entry) = self.register().entries.get_mut(&id) {
            entry.lease = lease;
        }
    }

    fn set_client(&self, id: ConnectionId, address: ClientAddress) {
        if let Some(entry) = self.register().entries.get_mut(&id) {
            entry.client = Some(address.cut());
        }
    }

    fn rejected(&self, principal: &Principal, refused: &Refused) {
        self.metrics.websocket.rejected.inc(&(refused.reason(),));
        let (client, reason) = (principal.log_name(), refused.reason());
        let reason = reason.as_label();
        match refused {
            Refused::PerClient { most, .. } => {
                info!(event = "connection_limit_exceeded", client, reason, limit = most, "socket refused");
            }
            Refused::Total => {
                let limit = self.settings.websocket.max_total.get();
                info!(event = "connection_limit_exceeded", client, reason, limit, "socket refused");
            }
            Refused::Draining => info!(event = "connection_rejected", client, reason, "socket refused"),
        }
    }

    /// Sockets and held places, now.
    pub fn census(&self) -> Census {
        let register = self.register();
        let principals: HashSet<&Principal> =
            register.entries.values().map(|entry| &entry.principal).collect();
        Census { total: register.entries.len(), principals: principals.len() }
    }

    /// Waits until the replica is stopping and the last place was given back.
    pub async fn stopped(&self) {
        self.shutdown.closing().cancelled().await;
        self.places.close();
        self.places.wait().await;
    }

    /// Forgets a place and gives its lease back, at once.
    fn free(&self, id: ConnectionId) {
        let Some(entry) = self.register().entries.remove(&id) else { return };
        self.metrics.leases.held.add(&(LeaseKind::Socket,), -1);
        // A runtime that is going away takes no new tasks; the lease then ends by itself.
        if entry.lease != Lease::None && tokio::runtime::Handle::try_current().is_ok() {
            let leases = self.leases.clone();
            self.shutdown.spawn(async move { leases.release(&entry.principal, id).await });
        }
    }

    /// Forgets a place whose lease is somebody else's now.
    fn forget(&self, id: ConnectionId) {
        if let Some(entry) = self.register().entries.get_mut(&id) {
            entry.lease = Lease::None;
        }
    }

    fn register(&self) -> MutexGuard<'_, Register> {
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Settings {
    /// How long a place outlives its last renewal: a crash frees it after this.
    fn lease(&self) -> Duration {
        *self.websocket.heartbeat_interval + *self.websocket.heartbeat_timeout
    }

    /// A moment somewhere in the spread, so that not all clients come back at once.
    fn spread(&self) -> Duration {
        self.close_spread.mul_f64(rand::random::<f64>())
    }

    fn heartbeat(&self, now: Instant) -> heartbeat::Heartbeat {
        let WebSocket { heartbeat_interval, heartbeat_timeout, idle_ttl, .. } = &self.websocket;
        heartbeat::Heartbeat::new(**heartbeat_interval, **heartbeat_timeout, **idle_ttl, now)
    }
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        let websocket = config.websocket.clone();
        let beat = *websocket.heartbeat_interval + *websocket.heartbeat_timeout;
        // A living socket gives a sign of life at every ping; it may be held up by one slow send; a ticket waits longest.
        let stale_after = beat * 2 + *config.server.slow_reader_timeout + TICKET_TTL;
        Self { websocket, close_spread: *config.server.close_spread, stale_after }
    }
}
