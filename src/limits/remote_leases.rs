//! Places held in Redis, for all replicas together.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::dismissals::{Dismissal, MOST_TOLD, TOLD_FOR};
use super::local_leases::LocalLeases;
use super::unanswered::Unanswered;
use super::{Admission, Leases, LeasesUnavailable, NoteName, NotesUnavailable};
use crate::redis::{Call, Clock, Redis, RedisError, Script};
use crate::telemetry::metrics::{LeaseKind, Metrics, RedisOperation};
use crate::words::{ConnectionId, Principal, PrincipalHash, Timestamp};

static ADMIT: Script = Script::new(RedisOperation::Admit, include_str!("admit.lua"));
static RENEW: Script = Script::new(RedisOperation::Admit, include_str!("renew.lua"));
static RELEASE: Script = Script::new(RedisOperation::Finish, include_str!("release.lua"));
static HELD: Script = Script::new(RedisOperation::Admit, include_str!("held.lua"));
static HOLDERS: Script = Script::new(RedisOperation::Admit, include_str!("holders.lua"));

/// How much longer keys live than what is in them: they outlive every place, and are gone soon after the last.
const KEPT_AFTERWARDS: Duration = Duration::from_secs(5);

/// Places in sorted sets, scored by when they run out.
///
/// Whatever this replica holds is in its own process too: when Redis is away, so many places as a principal may have are
/// counted on each replica, beginning with the right number, and the next renewal brings all of them back to Redis.
pub struct RedisLeases {
    redis: Redis,
    own: LocalLeases,
    metrics: Arc<Metrics>,
    unanswered: Unanswered,
}

/// What became of a request for a place: how many had run out, whether there is one, who lost it, and how long until the
/// first runs out.
type Admitted = (u64, bool, Option<String>, u64);

impl RedisLeases {
    /// Holds places in this Redis.
    pub fn new(redis: Redis, metrics: Arc<Metrics>) -> Self {
        let (own, unanswered) =
            (LocalLeases::new(Arc::clone(&metrics)), Unanswered::new(Arc::clone(&metrics)));
        Self { redis, own, metrics, unanswered }
    }

    fn keys_of(&self, principal: &Principal) -> [String; 2] {
        let keys = self.redis.keys();
        [keys.places(principal), keys.replaced(principal)]
    }

    async fn ask_for_place(&self, principal: &Principal, call: &Call) -> Result<Admission, RedisError> {
        let (ran_out, is_granted, replaced, wait) = self.redis.run::<Admitted>(call).await?;
        self.metrics.leases.expired.add(&(LeaseKind::Socket,), ran_out);
        if !is_granted {
            return Ok(Admission::Full { retry_after: Duration::from_millis(wait) });
        }
        let replaced = replaced.and_then(|id| id.parse().ok());
        if let Some(oldest) = replaced {
            self.own.release(principal, oldest).await;
        }
        Ok(Admission::Granted { replaced })
    }

    async fn renew_in_redis(
        &self,
        holders: &[(Principal, ConnectionId)],
        ttl: Duration,
    ) -> Result<HashSet<ConnectionId>, RedisError> {
        let keys = holders.iter().flat_map(|(principal, _)| self.keys_of(principal));
        let call = RENEW.on(keys).arg(millis(ttl)).arg(millis(ttl + KEPT_AFTERWARDS));
        let call = holders.iter().fold(call, |call, (_, holder)| call.ulid(holder.0));
        let lost: Vec<String> = self.redis.run(&call).await?;
        Ok(lost.iter().filter_map(|id| id.parse().ok()).collect())
    }
}

#[async_trait]
impl Leases for RedisLeases {
    async fn admit(
        &self,
        principal: &Principal,
        holder: ConnectionId,
        most: usize,
        ttl: Duration,
        replace_oldest: bool,
    ) -> Admission {
        let call = ADMIT.on(self.keys_of(principal)).ulid(holder.0).arg(most);
        let call = call.arg(millis(ttl)).arg(millis(ttl + KEPT_AFTERWARDS));
        let call = call.arg(if replace_oldest { "replace_oldest" } else { "refuse" });
        match self.ask_for_place(principal, &call).await {
            Ok(admission) => {
                if matches!(admission, Admission::Granted { .. }) {
                    // Taken without asking: it is the one in Redis.
                    self.own.renew(&[(principal.clone(), holder)], ttl).await;
                }
                admission
            }
            Err(error) => {
                self.unanswered.log(&error);
                self.own.admit(principal, holder, most, ttl, replace_oldest).await
            }
        }
    }

    async fn renew(&self, holders: &[(Principal, ConnectionId)], ttl: Duration) -> Vec<ConnectionId> {
        let mut lost: HashSet<_> = self.own.renew(holders, ttl).await.into_iter().collect();
        let kept: Vec<_> = holders.iter().filter(|(_, holder)| !lost.contains(holder)).cloned().collect();
        if !kept.is_empty() {
            match self.renew_in_redis(&kept, ttl).await {
                Ok(replaced) => lost.extend(replaced),
                Err(error) => self.unanswered.log(&error),
            }
        }
        holders.iter().map(|(_, holder)| *holder).filter(|holder| lost.contains(holder)).collect()
    }

    async fn release(&self, principal: &Principal, holder: ConnectionId) {
        self.own.release(principal, holder).await;
        let call = RELEASE.on(self.keys_of(principal)).ulid(holder.0);
        // What is not given back runs out.
        if let Err(error) = self.redis.run::<u64>(&call).await {
            self.unanswered.log(&error);
        }
    }

    async fn leave(&self, name: &NoteName, note: &str, ttl: Duration) -> bool {
        let key = self.redis.keys().note(name);
        let call = Call::command(RedisOperation::Admit, "SET", key).arg(note).arg("PX").arg(millis(ttl));
        let left = self.redis.run::<()>(&call).await;
        left.inspect_err(|error| self.unanswered.log(error)).is_ok()
    }

    async fn collect(&self, name: &NoteName) -> Result<Option<String>, NotesUnavailable> {
        let call = Call::command(RedisOperation::Admit, "GETDEL", self.redis.keys().note(name));
        let collected = self.redis.run(&call).await;
        collected.inspect_err(|error| self.unanswered.log(error)).map_err(|_| NotesUnavailable)
    }

    async fn held(&self, principal: &Principal) -> usize {
        match self.redis.read(&HELD.on([self.redis.keys().places(principal)])).await {
            Ok(held) => held,
            Err(error) => {
                self.unanswered.log(&error);
                self.own.held(principal).await
            }
        }
    }

    async fn holders(&self, principal: &Principal, most: usize) -> Vec<ConnectionId> {
        let call = HOLDERS.on([self.redis.keys().places(principal)]).arg(most);
        match self.redis.read::<Vec<String>>(&call).await {
            Ok(holders) => holders.iter().filter_map(|id| id.parse().ok()).collect(),
            Err(error) => {
                self.unanswered.log(&error);
                self.own.holders(principal, most).await
            }
        }
    }

    async fn dismiss(&self, principal: &Principal) -> Result<(), LeasesUnavailable> {
        let call = Call::command(RedisOperation::Finish, "XADD", self.redis.keys().dismissed())
            .arg(&["MAXLEN", "~"])
            .arg(MOST_TOLD)
            .arg(&["*", "principal", &PrincipalHash::of(principal).to_string()]);
        let told: Result<String, RedisError> = self.redis.run(&call).await;
        told.map(drop).map_err(|error| LeasesUnavailable(error.into()))
    }

    async fn dismissed(&self) -> Vec<Dismissal> {
        let clock = self.redis.clock();
        let since = clock.now().as_millis().saturating_sub(millis(TOLD_FOR));
        let call = Call::command(RedisOperation::Follow, "XRANGE", self.redis.keys().dismissed())
            .arg(since)
            .arg(&["+", "COUNT"])
            .arg(MOST_TOLD);
        match self.redis.run::<Vec<(String, HashMap<String, String>)>>(&call).await {
            Ok(entries) => entries.iter().filter_map(|entry| dismissal(entry, clock)).collect(),
            Err(error) => {
                self.unanswered.log(&error);
                Vec::new()
            }
        }
    }
}

/// What an entry says; one that cannot be read is nothing to us.
fn dismissal((place, fields): &(String, HashMap<String, String>), clock: &Clock) -> Option<Dismissal> {
    let (moment, _) = place.split_once('-')?;
    let at = Timestamp::from_millis(moment.parse().ok()?);
    Some((fields.get("principal")?.parse().ok()?, clock.own(at)))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
