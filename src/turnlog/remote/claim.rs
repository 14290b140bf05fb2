//! Which turn an idempotency key stands for, and the accepting of turns that have one.

use std::time::Duration;

use tokio::time::sleep;

use super::record::{Unreadable, with_fields};
use super::{RedisTurnLog, scripts, unseen};
use crate::redis::Call;
use crate::telemetry::metrics::RedisOperation;
use crate::turnlog::{Accepted, Idempotency, LogUnavailable, NewTurn, Record};
use crate::words::TurnId;

/// Who has reserved a key must have accepted its turn within this.
const ACCEPT_WITHIN: Duration = Duration::from_secs(1);

/// A reservation whose turn does not exist is void after this; the second between is for the clocks of a Cluster's nodes,
/// which may differ.
const VOID_AFTER: Duration = Duration::from_secs(2);

/// How long to wait for a turn that somebody else is about to accept, before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Looks before giving up: longer than [`VOID_AFTER`] in all, so that it ends with an answer.
const LOOKS: usize = 150;

/// What a wish for a key was answered.
enum Reserved {
    /// It is ours, since this moment of Redis' clock, in ms.
    Mine(u64),
    Held {
        turn: TurnId,
        same_body: bool,
        age: Duration,
    },
}

impl Reserved {
    fn accepted(turn: TurnId, same_body: bool) -> Accepted {
        if same_body { Accepted::Same(turn) } else { Accepted::OtherBody }
    }
}

impl RedisTurnLog {
    /// Accepts a turn, after reserving its idempotency key if it has one.
    pub(super) async fn accept_reserved(&self, new: &NewTurn) -> Result<Accepted, LogUnavailable> {
        let Some(idempotency) = &new.idempotency else {
            let accepted = self.accept_until(new, None).await?;
            return accepted
                .ok_or_else(|| LogUnavailable("a turn that has no time to wait for is late".into()));
        };
        let mut void = None;
        for _ in 0..LOOKS {
            match self.reserve(new.turn, idempotency, void).await.map_err(unseen)? {
                Reserved::Mine(since) => {
                    let until = since + ACCEPT_WITHIN.as_millis() as u64;
                    match self.accept_until(new, Some(until)).await? {
                        Some(Accepted::Busy(running)) => {
                            self.unreserve(new.turn, idempotency).await?;
                            return Ok(Accepted::Busy(running));
                        }
                        Some(accepted) => return Ok(accepted),
                        None => self.unreserve(new.turn, idempotency).await?,
                    }
                }
                Reserved::Held { turn, same_body, .. } if self.exists(turn).await? => {
                    return Ok(Reserved::accepted(turn, same_body));
                }
                Reserved::Held { turn, age, .. } if age >= VOID_AFTER => void = Some(turn),
                Reserved::Held { .. } => sleep(LOOK_AGAIN).await,
            }
        }
        Err(LogUnavailable("an idempotency key stays reserved for a turn that is never accepted".into()))
    }

    /// What a key stands for, without wanting it.
    pub(super) async fn stands_for(
        &self,
        idempotency: &Idempotency,
    ) -> Result<Option<Accepted>, LogUnavailable> {
        let key = self.redis.keys().idempotency(&idempotency.key);
        let call = Call::command(RedisOperation::Read, "HMGET", key).arg(&["turn", "body"]);
        let (turn, body): (Option<String>, Option<String>) = self.redis.read(&call).await?;
        let Some((turn, body)) = turn.zip(body) else { return Ok(None) };
        let turn: TurnId = turn.parse().map_err(|_| Unreadable("id"))?;
        let same_body = body == hex(&idempotency.body);
        Ok(self.exists(turn).await?.then(|| Reserved::accepted(turn, same_body)))
    }

    /// Makes a turn's key lead to it again, unless it leads elsewhere meanwhile.
    pub(super) async fn claim_key_for(&self, record: &Record) -> Result<(), LogUnavailable> {
        if let Some(idempotency) = &record.idempotency {
            // Whoever has the key keeps it: the first one wins.
            let _ = self.reserve(record.turn, idempotency, None).await?;
        }
        Ok(())
    }

    /// Accepts a turn, if it is not later than `until` by Redis' clock; `None` if it is.
    async fn accept_until(
        &self,
        new: &NewTurn,
        until: Option<u64>,
    ) -> Result<Option<Accepted>, LogUnavailable> {
        let page = new.page();
        let call = self
            .on(&scripts::ACCEPT, new.turn, Some(&new.conversation))
            .arg(&[new.turn.to_string(), new.owner.to_string()])
            .arg(self.life().as_millis() as u64)
            .arg(until.map_or(String::new(), |until| until.to_string()));
        let call = super::with_batch(call, &page.events);
        let call = with_fields(call, &page.record, self.redis.clock());
        let (answer, detail): (String, String) = self.redis.run(&call).await?;
        Ok(match answer.as_str() {
            "OK" => Some(Accepted::Ok(new.claim())),
            "SAME" => Some(Accepted::Same(new.turn)),
            "BUSY" => Some(Accepted::Busy(detail.parse().map_err(|_| Unreadable("id"))?)),
            _ => None,
        })
    }

    async fn reserve(
        &self,
        turn: TurnId,
        idempotency: &Idempotency,
        void: Option<TurnId>,
    ) -> Result<Reserved, LogUnavailable> {
        let body = hex(&idempotency.body);
        let call = scripts::RESERVE
            .on([self.redis.keys().idempotency(&idempotency.key)])
            .arg(&[turn.to_string(), body.clone()])
            .arg(self.life().as_millis() as u64)
            .arg(void.map_or(String::new(), |void| void.to_string()))
            .arg(VOID_AFTER.as_millis() as u64);
        let (answer, first, of, age): (String, String, String, String) = self.redis.run(&call).await?;
        if answer == "MINE" {
            return Ok(Reserved::Mine(first.parse().map_err(|_| Unreadable("reservation"))?));
        }
        let turn = first.parse().map_err(|_| Unreadable("id"))?;
        let age = age.parse::<f64>().map_err(|_| Unreadable("reservation"))?.max(0.0) as u64;
        Ok(Reserved::Held { turn, same_body: of == body, age: Duration::from_millis(age) })
    }

    async fn unreserve(&self, turn: TurnId, idempotency: &Idempotency) -> Result<(), LogUnavailable> {
        let key = self.redis.keys().idempotency(&idempotency.key);
        let call = scripts::UNRESERVE.on([key]).arg(turn.to_string());
        Ok(self.redis.run::<()>(&call).await?)
    }

    async fn exists(&self, turn: TurnId) -> Result<bool, LogUnavailable> {
        let call = Call::command(RedisOperation::Read, "EXISTS", self.redis.keys().turn(turn));
        Ok(self.redis.read(&call).await?)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
