//! Where state lives.

use std::sync::Arc;

use super::wrong;
use crate::config::Config;
use crate::exit::Failure;
use crate::fleet::{FleetSize, LocalFleet, LocalPresence, Presence, RedisPresence};
use crate::limits::{Leases, Limiter, LocalLeases, LocalLimiter, RedisLeases, RedisLimiter};
use crate::memory::{LocalMemory, Measured, Memory, RedisMemory, ShelteredMemory};
use crate::redis::{Redis, WrongRedis};
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::{Backend, Feature, Metrics};
use crate::turnlog::{LocalTurnLog, RedisTurnLog, TurnLog};
use crate::words::ReplicaId;

/// Where state lives. Replicas that share these are one service.
#[derive(Clone)]
pub struct Seams {
    /// Turns.
    pub log: Arc<dyn TurnLog>,
    /// Conversations.
    pub memory: Arc<dyn Memory>,
    /// Limits.
    pub limiter: Arc<dyn Limiter>,
    /// Places for sockets.
    pub leases: Arc<dyn Leases>,
    /// Who is alive.
    pub presence: Arc<dyn Presence>,
    /// How many are alive, told by presence to whoever has to share without Redis.
    pub fleet_size: Arc<FleetSize>,
}

impl Seams {
    /// Where the settings put them: in Redis, if there is one, otherwise in this process.
    pub fn new(
        config: &Config,
        replica: &ReplicaId,
        metrics: &Arc<Metrics>,
        connected: Option<&Connected>,
    ) -> Self {
        let local = Self::local(config, replica, metrics);
        match connected {
            None => local,
            Some(Connected { redis, keeping }) => {
                let (turns, counted) = (config.turns.clone(), Arc::clone(metrics));
                let lease = *config.turns.lease;
                let size = Arc::clone(&local.fleet_size);
                let replicas = move || size.last();
                let memory = config.memory.use_redis.then(|| shared_memory(config, metrics, redis, keeping));
                Self {
                    log: Arc::new(RedisTurnLog::new(redis.clone(), turns, counted, keeping)),
                    limiter: Arc::new(RedisLimiter::new(redis.clone(), &config.redis, replicas, metrics)),
                    leases: Arc::new(RedisLeases::new(redis.clone(), Arc::clone(metrics))),
                    presence: Arc::new(RedisPresence::new(redis.clone(), replica.clone(), lease)),
                    memory: memory.unwrap_or(local.memory),
                    ..local
                }
            }
        }
    }

    /// Everything in this process.
    pub fn local(config: &Config, replica: &ReplicaId, metrics: &Arc<Metrics>) -> Self {
        let memory = LocalMemory::new(&config.memory, Arc::clone(metrics));
        let presence =
            LocalPresence::new(Arc::new(LocalFleet::default()), replica.clone(), *config.turns.lease);
        Self {
            log: Arc::new(LocalTurnLog::new(config.turns.clone())),
            memory: Arc::new(Measured::new(memory, Backend::Local, Arc::clone(metrics))),
            limiter: Arc::new(LocalLimiter::new()),
            leases: Arc::new(LocalLeases::new(Arc::clone(metrics))),
            presence: Arc::new(presence),
            fleet_size: Arc::default(),
        }
    }
}

/// Conversations in Redis, with a copy here to go on with.
fn shared_memory(
    config: &Config,
    metrics: &Arc<Metrics>,
    redis: &Redis,
    keeping: &Shutdown,
) -> Arc<dyn Memory> {
    let shared = RedisMemory::new(redis.clone(), &config.memory);
    let memory = ShelteredMemory::new(shared, &config.memory, Arc::clone(metrics), keeping);
    Arc::new(Measured::new(memory, Backend::Redis, Arc::clone(metrics)))
}

/// Redis, and what ends the tasks that keep connections and copies.
pub struct Connected {
    /// Redis.
    pub redis: Redis,
    /// Ends what keeps connections up and copies in step.
    pub keeping: Shutdown,
}

/// Connects to Redis, if there is one.
pub fn connect_redis(config: &Config, metrics: &Arc<Metrics>) -> Result<Option<Connected>, Failure> {
    let mut features = vec![Feature::Turns, Feature::Limits, Feature::Sockets];
    features.extend(config.memory.use_redis.then_some(Feature::Memory));
    let keeping = Shutdown::new();
    let redis = Redis::new(&config.redis, &features, metrics, &keeping).map_err(|error| match error {
        WrongRedis::File(reason) => Failure::Unavailable(reason),
        WrongRedis::Settings(_) | WrongRedis::Client(_) => wrong(error),
    })?;
    Ok(redis.map(|redis| Connected { redis, keeping }))
}
