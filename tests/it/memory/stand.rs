use std::sync::Arc;
use std::time::Duration;

use polylogue::config::{Config, Span};
use polylogue::memory::{Memory as _, RedisMemory, ShelteredMemory, Written};
use polylogue::redis::Redis;
use polylogue::shutdown::Shutdown;
use polylogue::telemetry::metrics::Metrics;
use polylogue::words::{ConversationKey, Message, MessageId, Role, Timestamp, TurnId};
use ulid::Ulid;

use crate::support::eventually;

/// What a replica remembers by, and nothing else of it.
pub struct Replica {
    pub memory: ShelteredMemory<RedisMemory>,
    pub redis: Redis,
    pub metrics: Arc<Metrics>,
    shutdown: Shutdown,
}

impl Replica {
    /// Starts it; Redis need not be there. Its breaker tries again soon, as nobody here gives signs of life.
    pub fn start(url: &str) -> Self {
        let (mut config, metrics, shutdown) = (Config::default(), Arc::new(Metrics::new()), Shutdown::new());
        config.redis.url = Some(url.into());
        config.redis.breaker.recovery = Span(Duration::from_millis(200));
        let redis = Redis::new(&config.redis, &[], &metrics, &shutdown).unwrap().unwrap();
        let shared = RedisMemory::new(redis.clone(), &config.memory);
        let memory = ShelteredMemory::new(shared, &config.memory, Arc::clone(&metrics), &shutdown);
        Self { memory, redis, metrics, shutdown }
    }

    pub async fn says(&self, n: u64) {
        self.says_in(&here(), n).await;
    }

    pub async fn says_in(&self, id: &ConversationKey, n: u64) {
        let written = self.memory.add(id, &[said(n)]).await.unwrap();
        assert_eq!(written, Written::Written(1), "{n} in {id}");
    }

    pub async fn forgets(&self, up_to: u64) {
        self.memory.clear(&here(), turn(up_to).reply_message(250)).await.unwrap();
    }

    /// What a caller is told; nothing if it cannot be known.
    pub async fn texts(&self) -> Option<Vec<String>> {
        self.texts_in(&here()).await
    }

    pub async fn texts_in(&self, id: &ConversationKey) -> Option<Vec<String>> {
        let history = self.memory.history(id).await.ok()?.unwrap_or_default();
        Some(history.messages.into_iter().map(|message| message.content).collect())
    }

    pub fn unconfirmed(&self) -> i64 {
        self.metrics.memory.unconfirmed.get(&())
    }

    /// Waits until nothing waits for Redis.
    pub async fn has_caught_up(&self) {
        eventually("everything is confirmed", async || self.unconfirmed() == 0).await;
    }

    pub async fn stop(self) {
        self.shutdown.closing().cancel();
        self.shutdown.ended().await;
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.shutdown.closing().cancel();
    }
}

/// Waits until all replicas tell the same: these turns' messages, each once, in order.
pub async fn all_say(replicas: &[&Replica], expected: impl IntoIterator<Item = u64>) {
    let expected: Vec<String> = expected.into_iter().map(|n| n.to_string()).collect();
    for replica in replicas {
        eventually(&format!("it says {expected:?}"), async || {
            replica.texts().await.is_some_and(|texts| texts == expected)
        })
        .await;
    }
}

pub fn here() -> ConversationKey {
    "team-42".parse().unwrap()
}

/// The `n`th turn of a conversation; later ones sort after earlier ones.
pub fn turn(n: u64) -> TurnId {
    TurnId::new(Ulid::from_parts(1_795_460_442_000 + n, 0), &here())
}

pub fn message(id: MessageId, role: Role, content: &str) -> Message {
    let created_at = Timestamp::from_millis(1_795_460_442_000);
    Message { id, role, persona: None, content: content.to_owned(), created_at, cancelled: false }
}

pub fn said(n: u64) -> Message {
    message(turn(n).user_message(), Role::User, &n.to_string())
}
