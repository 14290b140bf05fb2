//! Redis in each of its shapes, for the suites that run against it.

use std::sync::Arc;
use std::time::Duration;

use polylogue::config::{Config, KeyPrefix, Span};
use polylogue::limits::{RedisLeases, RedisLimiter};
use polylogue::redis::Redis;
use polylogue::shutdown::Shutdown;
use polylogue::telemetry::metrics::Metrics;
use polylogue::words::new_ulid;

use crate::support::redis::{RedisCluster, RedisServer, Sentinels};

/// More than a busy machine needs for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A Redis of one shape.
pub enum Shape {
    Alone(RedisServer),
    Watched(Box<Sentinels>),
    Cluster(RedisCluster),
}

impl Shape {
    pub async fn alone() -> Self {
        Self::Alone(RedisServer::start().await)
    }

    pub async fn watched() -> Self {
        Self::Watched(Box::new(Sentinels::start().await))
    }

    pub async fn cluster() -> Self {
        Self::Cluster(RedisCluster::start().await)
    }

    fn url(&self) -> String {
        match self {
            Self::Alone(server) => server.url(),
            Self::Watched(sentinels) => sentinels.url(),
            Self::Cluster(cluster) => cluster.url(),
        }
    }

    /// A connection with names of its own: no claim sees what another wrote.
    pub fn connect(&self) -> Connected {
        connect(&self.url(), &new_ulid(0).to_string())
    }

    /// The same, and no busy machine makes Redis look away.
    pub fn connect_patiently(&self) -> Connected {
        connect_patiently(&self.url(), &new_ulid(0).to_string())
    }
}

/// A connection, until it is dropped.
pub struct Connected {
    pub redis: Redis,
    pub metrics: Arc<Metrics>,
    /// What a seam keeps running belongs to this.
    pub keeping: Shutdown,
}

impl Connected {
    /// Limits decided by one of so many replicas, which waits so long for Redis.
    pub fn limiter(&self, ceiling: Duration, replicas: usize) -> RedisLimiter {
        let mut settings = Config::default().redis;
        settings.limit_timeout = Span(ceiling);
        RedisLimiter::new(self.redis.clone(), &settings, move || replicas, &self.metrics)
    }

    /// Limits decided in Redis and nowhere else.
    pub fn patient_limiter(&self) -> RedisLimiter {
        self.limiter(PATIENCE, 1)
    }

    /// Places held here.
    pub fn leases(&self) -> RedisLeases {
        RedisLeases::new(self.redis.clone(), Arc::clone(&self.metrics))
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.keeping.closing().cancel();
    }
}

/// Connects to the Redis at `url`; those that share `names` see the same.
pub fn connect(url: &str, names: &str) -> Connected {
    connected(url, names, *Config::default().redis.timeout)
}

/// The same, and no busy machine makes Redis look away.
pub fn connect_patiently(url: &str, names: &str) -> Connected {
    connected(url, names, PATIENCE)
}

fn connected(url: &str, names: &str, patience: Duration) -> Connected {
    let mut settings = Config::default().redis;
    settings.url = Some(url.to_owned().into());
    settings.key_prefix = KeyPrefix::try_from(names.to_owned()).unwrap();
    settings.timeout = Span(patience);
    let (metrics, keeping) = (Arc::new(Metrics::new()), Shutdown::new());
    let redis = Redis::new(&settings, &[], &metrics, &keeping).unwrap().unwrap();
    Connected { redis, metrics, keeping }
}
