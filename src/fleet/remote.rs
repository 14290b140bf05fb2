//! The fleet that shares a Redis.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::observer::Observer;
use super::{Fleet, FleetUnavailable, Presence};
use crate::redis::{Call, Redis, RedisError, Script, Value};
use crate::telemetry::metrics::RedisOperation;
use crate::words::{ReplicaId, Timestamp};

static BEAT: Script = Script::new(RedisOperation::Beat, include_str!("beat.lua"));

/// Signs of life between two looks at how Redis is set up.
const LOOK_AT_SETTINGS_EVERY: u64 = 600;

/// The only policy under which Redis drops nothing that has not expired.
const KEEPS_EVERYTHING: &str = "noeviction";

/// This replica's presence in the fleet. It also keeps Redis' clock, and notices when Redis has lost its data.
pub struct RedisPresence {
    redis: Redis,
    me: ReplicaId,
    seen: Mutex<Seen>,
}

struct Seen {
    observer: Observer,
    number: u64,
    data: Option<String>,
}

impl From<RedisError> for FleetUnavailable {
    fn from(error: RedisError) -> Self {
        Self(error.into())
    }
}

impl RedisPresence {
    /// Replica `me`, which takes others for dead after `lease`.
    pub fn new(redis: Redis, me: ReplicaId, lease: Duration) -> Self {
        let seen = Seen { observer: Observer::new(lease), number: 0, data: None };
        Self { redis, me, seen: Mutex::new(seen) }
    }

    fn with<R>(&self, work: impl FnOnce(&mut Seen) -> R) -> R {
        work(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn knows(&self, data: String) {
        let before = self.with(|seen| seen.data.replace(data.clone()));
        if before.is_some_and(|before| before != data) {
            self.redis.health().lost();
        }
    }

    /// Warns of a Redis that may drop what it was given to keep; one that does not tell is believed.
    async fn look_at_settings(&self) {
        let call = Call::command(RedisOperation::Beat, "INFO", "memory");
        let Ok(answer) = self.redis.run::<Value>(&call).await else { return };
        // A Cluster answers node by node; the text of all of them is looked through.
        let text = format!("{answer:?}");
        let policies = text.split("maxmemory_policy:").skip(1);
        let name =
            |rest: &str| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect::<String>();
        for policy in policies.map(name).filter(|policy| policy != KEEPS_EVERYTHING) {
            self.redis.health().warn(format!("redis' maxmemory-policy is {policy}, not {KEEPS_EVERYTHING}"));
        }
    }
}

#[async_trait]
impl Presence for RedisPresence {
    async fn beat(&self) -> Result<Fleet, FleetUnavailable> {
        let number = self.with(|seen| {
            seen.number += 1;
            seen.number
        });
        let keys = self.redis.keys();
        let call = BEAT
            .on([keys.replicas(), keys.data()])
            .arg(&[self.me.to_string(), format!("{number} {}", env!("CARGO_PKG_VERSION"))])
            .arg(format!("{:032x}", rand::random::<u128>()));
        let asked = Timestamp::now();
        let (now, data, signs): (u64, String, HashMap<String, String>) = self.redis.knock(&call).await?;
        self.redis.clock().learn(Timestamp::from_millis(now), asked);
        self.knows(data);
        if number % LOOK_AT_SETTINGS_EVERY == 1 {
            self.look_at_settings().await;
        }
        let number =
            |sign: &str| sign.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default();
        let numbers = signs.into_iter().filter_map(|(who, sign)| Some((who.parse().ok()?, number(&sign))));
        Ok(self.with(|seen| seen.observer.saw(numbers)))
    }

    async fn bury(&self, dead: &ReplicaId) -> Result<(), FleetUnavailable> {
        let keys = self.redis.keys();
        let call = Call::command(RedisOperation::Beat, "HDEL", keys.replicas()).arg(dead.as_str());
        self.redis.run::<()>(&call).await?;
        Ok(self.redis.run::<()>(&Call::command(RedisOperation::Beat, "DEL", keys.owned(dead))).await?)
    }

    async fn leave(&self) -> Result<(), FleetUnavailable> {
        let call =
            Call::command(RedisOperation::Beat, "HDEL", self.redis.keys().replicas()).arg(self.me.as_str());
        Ok(self.redis.run::<()>(&call).await?)
    }
}
