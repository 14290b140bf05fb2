//! Where state lives.

use std::sync::Arc;

use super::wrong;
use crate::config::Config;
use crate::exit::Failure;
use crate::fleet::{LocalFleet, LocalPresence, Presence, RedisPresence};
use crate::limits::{Leases, Limiter, LocalLeases, LocalLimiter};
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
}

impl Seams {
    /// Where the settings put them: in Redis, if there is one, otherwise in this process. `keeping` ends what keeps
    /// copies in step.
    pub fn new(
        config: &Config,
        replica: &ReplicaId,
        metrics: &Arc<Metrics>,
        redis: Option<&Redis>,
        keeping: &Shutdown,
    ) -> Self {
        let local = Self::local(config, replica, metrics);
        match redis {
            None => local,
            Some(redis) => {
                let (turns, counted) = (config.turns.clone(), Arc::clone(metrics));
                let lease = *config.turns.lease;
                let memory = config.memory.use_redis.then(|| shared_memory(config, metrics, redis, keeping));
                Self {
                    log: Arc::new(RedisTurnLog::new(redis.clone(), turns, counted, keeping)),
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
        }
    }
}

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

/// Connects to Redis, if there is one.
pub fn connect_redis(
    config: &Config,
    metrics: &Arc<Metrics>,
    state: &Shutdown,
) -> Result<Option<Redis>, Failure> {
    let mut features = vec![Feature::Turns, Feature::Limits, Feature::Sockets];
    features.extend(config.memory.use_redis.then_some(Feature::Memory));
    Redis::new(&config.redis, &features, metrics, state).map_err(|error| match error {
        WrongRedis::File(reason) => Failure::Unavailable(reason),
        WrongRedis::Settings(_) | WrongRedis::Client(_) => wrong(error),
    })
}
