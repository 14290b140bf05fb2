//! Conversations in Redis: one hash each.

use std::collections::HashMap;
use std::str::FromStr;

use async_trait::async_trait;
use tokio::sync::watch;

use super::conversation::turn_of;
use super::shelter::Walk;
use super::shelter::{Answer, Became, Failed, Found, News, Portion, SharedMemory};
use super::{History, Listing, ListingItem, ListingPlace, ListingQuery, Memory, MemoryUnavailable, Written};
use crate::config;
use crate::redis::{Call, Redis, RedisError, Resync, Script};
use crate::telemetry::metrics::RedisOperation as Operation;
use crate::words::{ConversationKey, Message, MessageId, PrincipalHash, Realm, Timestamp};

static MERGE: Script = Script::new(Operation::Merge, include_str!("merge.lua"));
static HISTORY: Script = Script::new(Operation::History, include_str!("history.lua"));
static CLEAR: Script = Script::new(Operation::Clear, include_str!("clear.lua"));
static LIST: Script = Script::new(Operation::Index, include_str!("list.lua"));
static STRIKE: Script = Script::new(Operation::Index, include_str!("strike.lua"));
static PEEK: Script = Script::new(Operation::History, include_str!("peek.lua"));

/// How many conversations a principal's list holds; of the others only their owner knows the ids.
const MOST_LISTED: usize = 1000;

/// How much longer a list lives than what is in it, in milliseconds: replicas tell it of uses some seconds late.
const LISTED_AFTERWARDS_MS: u64 = 60_000;

/// How many forgotten conversations the list of them holds, roughly: more than replicas can miss, which read it every
/// second.
const MOST_NEWS: usize = 10_000;

/// How many of them are read at once.
const NEWS_AT_ONCE: usize = 500;

/// Conversations in Redis. Fails when Redis cannot be asked.
#[derive(Clone)]
pub struct RedisMemory {
    redis: Redis,
    ttl_ms: u64,
    most: usize,
}

impl RedisMemory {
    /// Keeps conversations as the settings say.
    pub fn new(redis: Redis, settings: &config::Memory) -> Self {
        let ttl_ms = u64::try_from(settings.ttl.as_millis()).unwrap_or(u64::MAX);
        Self { redis, ttl_ms, most: settings.max_messages.get() }
    }

    async fn written(
        &self,
        conversation: &ConversationKey,
        messages: &[Message],
        whole: bool,
    ) -> Result<Written, MemoryUnavailable> {
        let portion = Portion::said(messages, whole, self.now());
        let enlisted = self.enlist(conversation, portion.updated_at);
        let (answer, enlisted) = tokio::join!(self.write(conversation, &portion), enlisted);
        enlisted?;
        Ok(match answer?.became {
            Became::Written(new) => Written::Written(new),
            Became::Known | Became::Other => Written::Known,
            Became::Cleared => Written::Cleared,
        })
    }

    fn on(&self, script: &'static Script, conversation: &ConversationKey) -> Call {
        script.on([self.redis.keys().conversation(conversation)]).arg(self.ttl_ms)
    }
}

#[async_trait]
impl Memory for RedisMemory {
    async fn add(
        &self,
        conversation: &ConversationKey,
        messages: &[Message],
    ) -> Result<Written, MemoryUnavailable> {
        self.written(conversation, messages, false).await
    }

    async fn merge(
        &self,
        conversation: &ConversationKey,
        turn: &[Message],
    ) -> Result<Written, MemoryUnavailable> {
        self.written(conversation, turn, true).await
    }

    async fn history(&self, conversation: &ConversationKey) -> Result<Option<History>, MemoryUnavailable> {
        let history = self.read(conversation).await?.history;
        if let Some(history) = &history {
            self.enlist(conversation, history.updated()).await?;
        }
        Ok(history)
    }

    async fn clear(
        &self,
        conversation: &ConversationKey,
        up_to: MessageId,
    ) -> Result<bool, MemoryUnavailable> {
        Ok(self.forget(conversation, up_to).await?.0)
    }

    async fn list(&self, of: PrincipalHash, query: &ListingQuery) -> Result<Listing, MemoryUnavailable> {
        Ok(Walk::new(self, of).part(query).await?)
    }
}

#[async_trait]
impl SharedMemory for RedisMemory {
    fn now(&self) -> Timestamp {
        self.redis.clock().now()
    }

    fn is_reachable(&self) -> bool {
        self.redis.is_open_for_calls()
    }

    fn resync(&self) -> watch::Receiver<Resync> {
        self.redis.health().resync()
    }

    async fn write(&self, conversation: &ConversationKey, portion: &Portion) -> Result<Answer, Failed> {
        let (lowest, highest) = portion.replies();
        let mut call = self
            .on(&MERGE, conversation)
            .arg(self.most)
            .arg(portion.created_at.as_millis())
            .arg(portion.updated_at.as_millis())
            .arg(u8::from(portion.cut))
            .arg(lowest)
            .arg(highest);
        for message in &portion.messages {
            call = call.ulid(message.id.0).arg(serde_json::to_string(message).map_err(refused)?);
        }
        let (word, new, mark): (String, usize, String) = self.redis.run(&call).await?;
        let became = match word.as_str() {
            "WRITTEN" => Became::Written(new),
            "KNOWN" => Became::Known,
            "OTHER" => Became::Other,
            "CLEARED" => Became::Cleared,
            other => return Err(Failed::Refused(format!("{other} is no answer").into())),
        };
        Ok(Answer { became, mark: mark_of(&mark)? })
    }

    async fn read(&self, conversation: &ConversationKey) -> Result<Found, Failed> {
        let fields: HashMap<String, String> = self.redis.run(&self.on(&HISTORY, conversation)).await?;
        found(&fields)
    }

    async fn forget(
        &self,
        conversation: &ConversationKey,
        up_to: MessageId,
    ) -> Result<(bool, MessageId), Failed> {
        let call = self.on(&CLEAR, conversation).ulid(up_to.0);
        let (gone, mark): (usize, String) = self.redis.run(&call).await?;
        Ok((gone > 0, mark_of(&mark)?.unwrap_or(up_to)))
    }

    async fn enlist(&self, conversation: &ConversationKey, updated_at: Timestamp) -> Result<(), Failed> {
        let Realm::Own(of) = conversation.realm() else { return Ok(()) };
        let lives = self.ttl_ms.saturating_add(LISTED_AFTERWARDS_MS);
        let call = LIST.on([self.redis.keys().listed(of)]).arg(lives).arg(MOST_LISTED);
        Ok(self.redis.run(&call.arg(updated_at.as_millis()).arg(conversation.id().as_str())).await?)
    }

    async fn listed(&self, of: PrincipalHash) -> Result<Vec<ListingPlace>, Failed> {
        let key = self.redis.keys().listed(of);
        let call = Call::command(Operation::Index, "ZRANGE", key).arg(&["0", "-1", "WITHSCORES"]);
        let scored: Vec<(String, f64)> = self.redis.read(&call).await?;
        let place = |(id, score): &(String, f64)| {
            let updated_at = Timestamp::from_millis(*score as u64);
            Some(ListingPlace { updated_at, id: id.parse().ok()? })
        };
        Ok(scored.iter().filter_map(place).collect())
    }

    async fn strike(&self, of: PrincipalHash, gone: &[ListingPlace]) -> Result<(), Failed> {
        let call = STRIKE.on([self.redis.keys().listed(of)]);
        let call = gone
            .iter()
            .fold(call, |call, place| call.arg(place.id.as_str()).arg(place.updated_at.as_millis()));
        Ok(self.redis.run(&call).await?)
    }

    async fn peek(&self, conversation: &ConversationKey) -> Result<Option<ListingItem>, Failed> {
        let call = PEEK.on([self.redis.keys().conversation(conversation)]);
        let (message_count, created, updated): (usize, String, String) = self.redis.read(&call).await?;
        if message_count == 0 {
            return Ok(None);
        }
        let (created_at, updated_at) = (time_of(&created)?, time_of(&updated)?);
        Ok(Some(ListingItem { id: conversation.id().clone(), created_at, updated_at, message_count }))
    }

    async fn tell(&self, conversation: &ConversationKey, mark: MessageId) -> Result<(), Failed> {
        let call = Call::command(Operation::Clear, "XADD", self.redis.keys().forgotten())
            .arg(&["MAXLEN", "~"])
            .arg(MOST_NEWS)
            .arg(&["*", "conversation", &conversation.to_string(), "mark"])
            .ulid(mark.0);
        let _: String = self.redis.run(&call).await?;
        Ok(())
    }

    async fn newest_news(&self) -> Result<News, Failed> {
        let key = self.redis.keys().forgotten();
        let call = Call::command(Operation::Follow, "XREVRANGE", key).arg(&["+", "-", "COUNT", "1"]);
        Ok(news("", self.redis.run(&call).await?))
    }

    async fn news_after(&self, place: &str) -> Result<News, Failed> {
        let from = if place.is_empty() { "-".to_owned() } else { format!("({place}") };
        let call = Call::command(Operation::Follow, "XRANGE", self.redis.keys().forgotten())
            .arg(from)
            .arg(&["+", "COUNT"])
            .arg(NEWS_AT_ONCE);
        Ok(news(place, self.redis.run(&call).await?))
    }
}

/// An entry of a stream: its id, its fields with their values.
type Entry = (String, HashMap<String, String>);

impl Portion {
    /// The lowest and the highest id that a reply of this turn can have; empty if replies do not matter.
    fn replies(&self) -> (String, String) {
        let Some(message) = self.messages.first().filter(|_| self.whole) else {
            return (String::new(), String::new());
        };
        // The turn's own id, then its user's message, then the replies.
        let turn = turn_of(message.id) << 8;
        let id = |number: u128| MessageId(ulid::Ulid(turn | number)).to_string();
        (id(2), id(0xff))
    }
}

fn found(fields: &HashMap<String, String>) -> Result<Found, Failed> {
    let mut history = History::default();
    for (name, value) in fields.iter().filter(|(name, _)| name.parse::<MessageId>().is_ok()) {
        let message: Message = serde_json::from_str(value).map_err(refused)?;
        if message.id.to_string() != *name {
            return Err(Failed::Refused("a message has another id than its field".into()));
        }
        history.messages.push(message);
    }
    history.messages.sort_by_key(|message| message.id);
    history.created_at = fields.get("created").map(|moment| time_of(moment)).transpose()?;
    history.updated_at = fields.get("updated").map(|moment| time_of(moment)).transpose()?;
    history.cut = fields.contains_key("cut");
    let mark = fields.get("cleared").map_or(Ok(None), |mark| mark_of(mark))?;
    Ok(Found { mark, history: Some(history).filter(|history| !history.messages.is_empty()) })
}

/// What these entries say; one that cannot be read is nothing to us.
fn news(place: &str, entries: Vec<Entry>) -> News {
    let place = entries.last().map_or(place, |(place, _)| place).to_owned();
    let said = |(_, fields): &Entry| {
        let conversation = fields.get("conversation")?.parse().ok()?;
        Some((conversation, fields.get("mark")?.parse().ok()?))
    };
    News { place, forgotten: entries.iter().filter_map(said).collect() }
}

fn time_of(text: &str) -> Result<Timestamp, Failed> {
    text.parse().map(Timestamp::from_millis).map_err(refused)
}

fn mark_of(text: &str) -> Result<Option<MessageId>, Failed> {
    if text.is_empty() { Ok(None) } else { parsed(text).map(Some) }
}

fn parsed<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(text: &str) -> Result<T, Failed> {
    text.parse().map_err(refused)
}

fn refused(error: impl std::error::Error + Send + Sync + 'static) -> Failed {
    Failed::Refused(Box::new(error))
}

impl From<RedisError> for Failed {
    fn from(error: RedisError) -> Self {
        match error {
            RedisError::Open(_) | RedisError::Slow(_) | RedisError::Fault(_) => Self::Away(Box::new(error)),
            RedisError::Refused(_) => Self::Refused(Box::new(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of the input are fields and their values, in turns.
    #[test]
    fn fuzz_kept_conversations() {
        crate::fuzz::run("kept_conversations", |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let lines: Vec<_> = text.lines().map(str::to_owned).collect();
            let pairs = lines.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
            let fields: HashMap<_, _> = pairs.collect();
            if let Ok(Found { history: Some(history), .. }) = found(&fields) {
                assert!(history.messages.len() <= fields.len());
                assert!(history.messages.is_sorted_by_key(|message| message.id));
            }
            let entries = vec![("1-1".to_owned(), fields)];
            assert!(news("0-0", entries).forgotten.len() <= 1);
        });
    }
}
