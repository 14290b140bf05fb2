//! Who owns which turn: an index for those who look for turns that were left behind. The turn itself decides.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt as _;
use futures_util::stream;

use crate::redis::{Call, Keys, Redis};
use crate::telemetry::metrics::RedisOperation;
use crate::turnlog::{Claim, LogUnavailable};
use crate::words::{ConversationKey, ReplicaId, TurnId};

/// How long an entry outlives the last sign of its replica; no turn lives as long.
const LIFE_SECONDS: u64 = 3600;

/// Turns looked at side by side.
const AT_ONCE: usize = 32;

/// Turns without an owner that are looked at in one go: more than one replica takes at once.
const ORPHANS: usize = 256;

/// A turn's status, epoch and owner (empty: nobody); `None` if the turn is not known.
type Looked = (TurnId, Option<(String, u64, String)>);

/// The index, and what of it is this replica's.
pub(super) struct Index {
    redis: Redis,
    /// Turns claimed here and not ended, with their conversations.
    mine: Mutex<HashMap<TurnId, (ReplicaId, ConversationKey)>>,
}

impl Index {
    pub(super) fn new(redis: Redis) -> Self {
        Self { redis, mine: Mutex::default() }
    }

    /// Before anything else is written of a claim: without an entry nobody would look for the turn.
    pub(super) async fn add(&self, turn: TurnId, owner: &ReplicaId) -> Result<(), LogUnavailable> {
        Ok(self.redis.run::<()>(&change("SADD", self.redis.keys().owned(owner), turn)).await?)
    }

    /// Notes that the turn is ours.
    pub(super) fn note(&self, claim: &Claim, conversation: &ConversationKey) {
        self.mine().insert(claim.turn, (claim.owner.clone(), conversation.clone()));
    }

    /// The key of what a claimed turn's conversation was asked last.
    pub(super) fn newest_key(&self, claim: &Claim, keys: &Keys) -> String {
        let mine = self.mine();
        match mine.get(&claim.turn) {
            Some((_, conversation)) => keys.current(conversation),
            // Never ours, so the write will be refused: any key of the slot does.
            None => keys.turn(claim.turn),
        }
    }

    /// After the end. A wrong entry is harmless, so a failure is, too.
    pub(super) async fn remove(&self, turn: TurnId, owner: &ReplicaId) {
        self.mine().remove(&turn);
        self.try_change("SREM", self.redis.keys().owned(owner), turn).await;
    }

    /// After it turned out to be somebody else's; a turn of which that cannot be said stays.
    pub(super) async fn remove_if_not_of(&self, turn: TurnId, owner: &ReplicaId) {
        match self.look(turn).await {
            Ok((_, Some((status, _, of)))) if status == "running" && of == owner.as_str() => {}
            Ok(_) => self.remove(turn, owner).await,
            Err(error) => {
                tracing::debug!(turn_id = %turn, error = %error.0, "a wrong entry stays in the index of turns");
            }
        }
    }

    /// Nobody owns it from here on.
    pub(super) async fn orphan(&self, claim: &Claim) {
        self.try_change("SADD", self.redis.keys().orphans(), claim.turn).await;
        self.remove(claim.turn, &claim.owner).await;
    }

    /// It was `before`'s, or nobody's.
    pub(super) async fn moved(&self, turn: TurnId, before: &str) {
        let key = match before.parse() {
            Ok(owner) => self.redis.keys().owned(&owner),
            Err(_) => self.redis.keys().orphans(),
        };
        self.try_change("SREM", key, turn).await;
    }

    /// The running turns of `owner`, and those it gave up without anybody noticing. Asked for our own, the index is first made to have them all: it may have been lost.
    pub(super) async fn owned(&self, owner: &ReplicaId) -> Result<Vec<(TurnId, u64)>, LogUnavailable> {
        let key = self.redis.keys().owned(owner);
        let mine: Vec<String> = {
            let mine = self.mine();
            mine.iter().filter(|(_, (of, _))| of == owner).map(|(turn, _)| turn.to_string()).collect()
        };
        if !mine.is_empty() {
            let call = Call::command(RedisOperation::Index, "SADD", key.clone()).arg(mine);
            self.redis.run::<()>(&call).await?;
            let call = Call::command(RedisOperation::Index, "EXPIRE", key.clone()).arg(LIFE_SECONDS);
            self.redis.run::<()>(&call).await?;
        }
        let members: Vec<String> =
            self.redis.run(&Call::command(RedisOperation::Index, "SMEMBERS", key)).await?;
        let running = |(turn, state): Looked| {
            let (status, epoch, of) = state?;
            (status == "running" && (of == owner.as_str() || of.is_empty())).then_some((turn, epoch))
        };
        Ok(self.looks(members).await?.into_iter().filter_map(running).collect())
    }

    /// Running turns that nobody owns, or whose owner is no replica any more: a failover may have taken back that it gave the
    /// turn up, or that somebody else took it. An entry stays as long as its turn runs.
    pub(super) async fn orphans(&self) -> Result<Vec<(TurnId, u64)>, LogUnavailable> {
        let key = self.redis.keys().orphans();
        let call = Call::command(RedisOperation::Index, "SRANDMEMBER", key.clone()).arg(ORPHANS);
        let mut orphans = Vec::new();
        for (turn, state) in self.looks(self.redis.run(&call).await?).await? {
            match state {
                Some((status, epoch, of)) if status == "running" => {
                    if of.is_empty() || !self.is_replica(&of).await? {
                        orphans.push((turn, epoch));
                    }
                }
                Some(_) | None => self.try_change("SREM", key.clone(), turn).await,
            }
        }
        Ok(orphans)
    }

    /// Whoever we lost the turn to may be lost, too: somebody has to look.
    pub(super) async fn lost(&self, claim: &Claim) {
        self.try_change("SADD", self.redis.keys().orphans(), claim.turn).await;
        self.remove(claim.turn, &claim.owner).await;
    }

    async fn is_replica(&self, name: &str) -> Result<bool, LogUnavailable> {
        let call = Call::command(RedisOperation::Index, "HEXISTS", self.redis.keys().replicas()).arg(name);
        Ok(self.redis.run(&call).await?)
    }

    async fn looks(&self, members: Vec<String>) -> Result<Vec<Looked>, LogUnavailable> {
        let looks: Vec<_> =
            members.iter().filter_map(|member| member.parse().ok()).map(|turn| self.look(turn)).collect();
        stream::iter(looks).buffered(AT_ONCE).collect::<Vec<_>>().await.into_iter().collect()
    }

    async fn look(&self, turn: TurnId) -> Result<Looked, LogUnavailable> {
        let call = Call::command(RedisOperation::Index, "HMGET", self.redis.keys().turn(turn))
            .arg(&["status", "epoch", "owner"]);
        let (status, epoch, owner): (Option<String>, Option<u64>, Option<String>) =
            self.redis.run(&call).await?;
        Ok((turn, status.zip(epoch).zip(owner).map(|((status, epoch), owner)| (status, epoch, owner))))
    }

    async fn try_change(&self, command: &'static str, key: String, turn: TurnId) {
        if let Err(error) = self.redis.run::<()>(&change(command, key, turn)).await {
            tracing::debug!(turn_id = %turn, error = %error, "the index of turns is behind");
        }
    }

    fn mine(&self) -> MutexGuard<'_, HashMap<TurnId, (ReplicaId, ConversationKey)>> {
        self.mine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn change(command: &'static str, key: String, turn: TurnId) -> Call {
    Call::command(RedisOperation::Index, command, key).arg(turn.to_string())
}
