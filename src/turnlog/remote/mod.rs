//! The log of all turns in Redis, shared by every replica.
//!
//! All that changes a turn is one script in its conversation's slot. Beside it, in a slot of their own, stand an index of
//! who owns which turn (added before, removed after, so that a wrong entry is harmless and a missing one cannot be), and
//! the idempotency keys, which must be found without a conversation: a key is reserved for a turn first, and the turn
//! accepted within a second of that, by Redis' clock; a reservation whose turn does not exist may be taken after two.

mod claim;
mod follow;
mod index;
mod record;
mod scripts;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use self::follow::Followed;
use self::index::Index;
use self::record::{Answer, from_word, page, with_batch, with_fields, with_log, word};
use super::fold::{end_of, unfinished};
use super::live_turns::left_of;
use super::{Accepted, Appended, Claim, Idempotency, LogPage, LogUnavailable, NewTurn, TakenOver, TurnLog};
use crate::config;
use crate::redis::{Call, FromRedisValue, Redis, RedisError, Resync, Script};
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::{Metrics, RedisOperation};
use crate::words::{
    CancelReason, ConversationKey, Event, EventBody, EventId, PersonaId, Realm, ReplicaId, ResetReason,
    Timestamp, TurnId, TurnStatus,
};

/// Entries read at once: with as many events in each as one write has, some hundred KiB.
const ENTRIES: usize = 64;

/// How often a takeover is tried anew when the log grew under it.
const TAKEOVER_TRIES: usize = 3;

/// The turn log in Redis.
pub struct RedisTurnLog {
    redis: Redis,
    settings: config::Turns,
    index: Index,
    followed: Arc<Followed>,
}

impl From<RedisError> for LogUnavailable {
    fn from(error: RedisError) -> Self {
        Self(error.into())
    }
}

impl RedisTurnLog {
    /// The log of the fleet in `redis`; `keeping` ends the task that follows turns owned elsewhere.
    pub fn new(redis: Redis, settings: config::Turns, metrics: Arc<Metrics>, keeping: &Shutdown) -> Self {
        let followed = Followed::start(redis.clone(), metrics, keeping);
        Self { index: Index::new(redis.clone()), redis, settings, followed }
    }

    fn life(&self) -> Duration {
        *self.settings.deadline + *self.settings.retention
    }

    /// Begins a call on the keys of a turn's state: the turn and its log, and its conversation's newest turn.
    fn on(&self, script: &'static Script, turn: TurnId, conversation: Option<&ConversationKey>) -> Call {
        let keys = self.redis.keys();
        let newest = conversation.map(|conversation| keys.current(conversation));
        script.on([keys.turn(turn), keys.log(turn)].into_iter().chain(newest))
    }

    /// What Redis does not have, unless it may only not have been given back to it yet.
    fn unknown<T>(&self) -> Result<Option<T>, LogUnavailable> {
        if self.redis.health().is_catching_up() {
            return Err(LogUnavailable("redis is still being given back what it may have lost".into()));
        }
        Ok(None)
    }

    async fn write(
        &self,
        script: &'static Script,
        claim: &Claim,
        previous: EventId,
        batch: &[Arc<Event>],
    ) -> Result<Appended, LogUnavailable> {
        let end = batch.last().and_then(|event| end_of(event)).map_or(String::new(), |status| word(&status));
        let releases = std::ptr::eq(script, &scripts::RELEASE);
        let call = script
            .on([
                self.redis.keys().turn(claim.turn),
                self.redis.keys().log(claim.turn),
                self.index.newest_key(claim, self.redis.keys()),
            ])
            .arg(&[claim.owner.as_str(), &claim.epoch.to_string(), &previous.to_string()]);
        let call = with_batch(call, batch)
            .arg(end)
            .arg(self.settings.retention.as_millis() as u64)
            .arg(if releases { "1" } else { "" })
            .arg(claim.turn.to_string());
        let (answer, detail): (String, String) = self.redis.run(&call).await?;
        let answer = appended(&answer, &detail)?;
        match answer {
            Appended::Fenced => self.index.lost(claim).await,
            Appended::Ended(_) => self.index.remove(claim.turn, &claim.owner).await,
            Appended::Ok { .. } | Appended::Resend { .. } | Appended::Gone => {}
        }
        Ok(answer)
    }

    async fn read_from<T: FromRedisValue>(
        &self,
        turn: TurnId,
        after: EventId,
        entries: usize,
    ) -> Result<T, RedisError> {
        let call = self.on(&scripts::READ, turn, None).arg(after.to_string()).arg(entries.min(ENTRIES));
        self.redis.read(&call).await
    }

    /// The whole turn.
    async fn whole(&self, turn: TurnId) -> Result<Option<LogPage>, LogUnavailable> {
        let Some(mut whole) = self.read(turn, EventId::START, usize::MAX).await? else { return Ok(None) };
        while let Some(last) =
            whole.events.last().map(|event| event.id).filter(|last| *last < whole.record.last)
        {
            let Some(more) = self.read(turn, last, usize::MAX).await? else { return Ok(None) };
            if more.events.is_empty() {
                break;
            }
            whole.record = more.record;
            whole.events.extend(more.events);
        }
        Ok(Some(whole))
    }

    /// One try; `None` if the log grew between the look at it and the takeover.
    async fn try_take_over(
        &self,
        turn: TurnId,
        epoch: u64,
        owner: &ReplicaId,
    ) -> Result<Option<TakenOver>, LogUnavailable> {
        let Some(mut seen) = self.whole(turn).await?.filter(|seen| seen.record.epoch == epoch) else {
            return Ok(Some(TakenOver::Lost));
        };
        let resets = template(turn, &unfinished(&seen.record, &seen.events));
        let call = self
            .on(&scripts::TAKE_OVER, turn, None)
            .arg(&[epoch.to_string(), seen.record.last.to_string(), owner.to_string()])
            .arg(resets.text.as_str())
            .arg(resets.number);
        let (answer, text, takeovers, before): (String, String, String, String) =
            self.redis.run(&call).await?;
        match answer.as_str() {
            "OK" => {}
            "MOVED" => return Ok(None),
            "ENDED" => return Ok(Some(TakenOver::Ended(from_word(&text, "status")?))),
            _ => return Ok(Some(TakenOver::Lost)),
        }
        let new = text.parse().map_err(|_| record::Unreadable("epoch"))?;
        let takeovers: u32 = takeovers.parse().map_err(|_| record::Unreadable("takeovers"))?;
        self.index.moved(turn, &before).await;
        let claim = Claim { turn, owner: owner.clone(), epoch: new };
        self.index.note(&claim, &seen.record.conversation);
        seen.events.extend(record::events(&[resets.in_epoch(&text).into_bytes()], EventId::START)?);
        seen.record.last = seen.events.last().map_or(seen.record.last, |event| event.id);
        (seen.record.owner, seen.record.epoch, seen.record.takeovers) =
            (Some(owner.clone()), new, takeovers + 1);
        let page = seen;
        Ok(Some(if takeovers >= self.settings.max_takeovers {
            TakenOver::TooOften { claim, page }
        } else {
            TakenOver::Ok { claim, page }
        }))
    }
}

/// Whatever became of what failed, nobody can see the turn yet.
fn unseen(error: LogUnavailable) -> LogUnavailable {
    LogUnavailable(error.into())
}

/// Stands for an epoch that only the script knows; no epoch is ever that far in the future.
const PLACEHOLDER: u64 = u64::MAX;

/// The first batch of an epoch that is not known yet.
struct Resets {
    /// A JSON array with `@` in the place of the epoch; nothing else in a reset can hold one.
    text: String,
    number: usize,
}

impl Resets {
    fn in_epoch(&self, epoch: &str) -> String {
        self.text.replace('@', epoch)
    }
}

fn template(turn: TurnId, personas: &[PersonaId]) -> Resets {
    let reset = |persona: &PersonaId| EventBody::ReplyReset {
        persona: persona.clone(),
        reason: ResetReason::Takeover,
    };
    let numbered =
        personas.iter().zip(1..).map(|(persona, seq)| (EventId { epoch: PLACEHOLDER, seq }, reset(persona)));
    let events: Vec<_> = numbered.map(|(id, body)| Arc::new(Event::new(id, turn, body))).collect();
    let text = String::from_utf8_lossy(&record::array(&events)).replace(&PLACEHOLDER.to_string(), "@");
    Resets { text, number: events.len() }
}

fn appended(answer: &str, detail: &str) -> Result<Appended, record::Unreadable> {
    Ok(match answer {
        "OK" if detail.is_empty() => Appended::Ok { cancel: None },
        "OK" => Appended::Ok { cancel: Some(from_word(detail, "cancel")?) },
        "RESEND" => Appended::Resend { from: detail.parse().map_err(|_| record::Unreadable("last id"))? },
        "FENCED" => Appended::Fenced,
        "ENDED" => Appended::Ended(from_word(detail, "status")?),
        "GONE" => Appended::Gone,
        _ => return Err(record::Unreadable("answer")),
    })
}

#[async_trait]
impl TurnLog for RedisTurnLog {
    async fn accept(&self, turn: NewTurn) -> Result<Accepted, LogUnavailable> {
        self.index.add(turn.turn, &turn.owner).await.map_err(unseen)?;
        let accepted = self.accept_reserved(&turn).await;
        match &accepted {
            Ok(Accepted::Ok(claim)) => self.index.note(claim, &turn.conversation),
            // It was not begun, so nobody has to know.
            Ok(Accepted::Same(_) | Accepted::OtherBody | Accepted::Busy(_)) => {
                self.index.remove(turn.turn, &turn.owner).await;
            }
            // It may have been begun.
            Err(_) => {}
        }
        accepted
    }

    async fn find(&self, idempotency: &Idempotency) -> Result<Option<Accepted>, LogUnavailable> {
        self.stands_for(idempotency).await
    }

    async fn append(
        &self,
        claim: &Claim,
        previous: EventId,
        batch: &[Arc<Event>],
    ) -> Result<Appended, LogUnavailable> {
        self.write(&scripts::APPEND, claim, previous, batch).await
    }

    async fn finish(
        &self,
        claim: &Claim,
        previous: EventId,
        batch: &[Arc<Event>],
    ) -> Result<Appended, LogUnavailable> {
        let answer = self.write(&scripts::FINISH, claim, previous, batch).await?;
        if matches!(answer, Appended::Ok { .. }) {
            self.index.remove(claim.turn, &claim.owner).await;
        }
        Ok(answer)
    }

    async fn restore(&self, claim: &Claim, copy: &LogPage) -> Result<Appended, LogUnavailable> {
        let LogPage { record, events } = copy;
        let left = left_of(record.deadline) + *self.settings.retention;
        self.index.add(claim.turn, &claim.owner).await?;
        self.claim_key_for(record).await?;
        let call = self
            .on(&scripts::RESTORE, claim.turn, Some(&record.conversation))
            .arg(&[
                claim.turn.to_string(),
                claim.owner.to_string(),
                claim.epoch.to_string(),
                word(&record.status),
            ])
            .arg(left.as_millis() as u64);
        let call = with_fields(with_log(call, events), record, self.redis.clock());
        let (answer, detail): (String, String) = self.redis.run(&call).await?;
        let answer = appended(&answer, &detail)?;
        if record.status.is_terminal() || !matches!(answer, Appended::Ok { .. }) {
            self.index.remove(claim.turn, &claim.owner).await;
        } else {
            self.index.note(claim, &record.conversation);
        }
        Ok(answer)
    }

    async fn release(&self, claim: &Claim, previous: EventId) -> Result<Appended, LogUnavailable> {
        let answer = self.write(&scripts::RELEASE, claim, previous, &[]).await?;
        if matches!(answer, Appended::Ok { .. }) {
            self.index.orphan(claim).await;
        }
        Ok(answer)
    }

    async fn take_over(
        &self,
        turn: TurnId,
        epoch: u64,
        owner: &ReplicaId,
    ) -> Result<TakenOver, LogUnavailable> {
        self.index.add(turn, owner).await?;
        for _ in 0..TAKEOVER_TRIES {
            if let Some(taken) = self.try_take_over(turn, epoch, owner).await? {
                // Lost to ourselves, if an earlier answer got lost: then it is to be found here.
                if matches!(taken, TakenOver::Lost | TakenOver::Ended(_)) {
                    self.index.remove_if_not_of(turn, owner).await;
                }
                return Ok(taken);
            }
        }
        Ok(TakenOver::Lost)
    }

    async fn read(
        &self,
        turn: TurnId,
        after: EventId,
        limit: usize,
    ) -> Result<Option<LogPage>, LogUnavailable> {
        if let Some(page) = self.followed.page(turn, after, limit) {
            return Ok(Some(page));
        }
        let answer: Answer = self.read_from(turn, after, limit).await?;
        let Some(mut page) = page(turn, answer, after, self.redis.clock())? else { return self.unknown() };
        page.events.truncate(limit);
        self.followed.learn(&page.record);
        Ok(Some(page))
    }

    async fn realm_of(&self, turn: TurnId) -> Result<Option<Realm>, LogUnavailable> {
        let key = self.redis.keys().turn(turn);
        let call = Call::command(RedisOperation::Read, "HGET", key).arg("conversation");
        let conversation: Option<String> = self.redis.read(&call).await?;
        let Some(conversation) = conversation else { return self.unknown() };
        let conversation: ConversationKey =
            conversation.parse().map_err(|_| record::Unreadable("conversation"))?;
        Ok(Some(conversation.realm()))
    }

    async fn changed(&self, turn: TurnId, seen: EventId) {
        self.followed.changed(turn, seen).await;
    }

    async fn cancel(&self, turn: TurnId, reason: CancelReason) -> Result<Option<TurnStatus>, LogUnavailable> {
        let call = scripts::CANCEL.on([self.redis.keys().turn(turn)]).arg(word(&reason));
        let status: Option<String> = self.redis.run(&call).await?;
        let Some(status) = status else { return self.unknown() };
        Ok(Some(from_word(&status, "status")?))
    }

    async fn current(
        &self,
        conversation: &ConversationKey,
    ) -> Result<Option<(TurnId, TurnStatus)>, LogUnavailable> {
        let key = self.redis.keys().current(conversation);
        let call = Call::command(RedisOperation::Read, "HGETALL", key);
        let fields: HashMap<String, String> = self.redis.read(&call).await?;
        let Some((turn, status)) = fields.get("turn").zip(fields.get("status")) else { return Ok(None) };
        let turn = turn.parse().map_err(|_| record::Unreadable("id"))?;
        Ok(Some((turn, from_word(status, "status")?)))
    }

    async fn owned(&self, owner: Option<&ReplicaId>) -> Result<Vec<(TurnId, u64)>, LogUnavailable> {
        match owner {
            Some(owner) => self.index.owned(owner).await,
            None => self.index.orphans().await,
        }
    }

    fn now(&self) -> Timestamp {
        self.redis.clock().now()
    }

    fn doubts(&self) -> Option<watch::Receiver<Resync>> {
        Some(self.redis.health().resync())
    }
}
