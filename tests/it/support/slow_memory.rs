use std::sync::Arc;

use async_trait::async_trait;
use polylogue::memory::{History, Listing, ListingQuery, Memory, MemoryUnavailable, Written};
use polylogue::words::{ConversationKey, Message, MessageId, PrincipalHash};
use tokio::sync::Semaphore;

/// A memory that keeps everybody waiting who writes, until it is told to go on.
pub struct SlowMemory {
    inner: Arc<dyn Memory>,
    gate: Semaphore,
    waiting: Semaphore,
}

impl SlowMemory {
    pub fn before(inner: Arc<dyn Memory>) -> Arc<Self> {
        Arc::new(Self { inner, gate: Semaphore::new(0), waiting: Semaphore::new(0) })
    }

    /// Waits until somebody writes.
    pub async fn is_waited_for(&self) {
        self.waiting.acquire().await.unwrap().forget();
    }

    /// Lets so many writes pass.
    pub fn let_pass(&self, writes: usize) {
        self.gate.add_permits(writes);
    }

    async fn wait(&self) {
        self.waiting.add_permits(1);
        self.gate.acquire().await.unwrap().forget();
    }
}

#[async_trait]
impl Memory for SlowMemory {
    async fn add(&self, id: &ConversationKey, messages: &[Message]) -> Result<Written, MemoryUnavailable> {
        self.wait().await;
        self.inner.add(id, messages).await
    }

    async fn merge(&self, id: &ConversationKey, turn: &[Message]) -> Result<Written, MemoryUnavailable> {
        self.wait().await;
        self.inner.merge(id, turn).await
    }

    async fn history(&self, id: &ConversationKey) -> Result<Option<History>, MemoryUnavailable> {
        self.inner.history(id).await
    }

    async fn list(&self, of: PrincipalHash, query: &ListingQuery) -> Result<Listing, MemoryUnavailable> {
        self.inner.list(of, query).await
    }

    async fn clear(&self, id: &ConversationKey, up_to: MessageId) -> Result<bool, MemoryUnavailable> {
        self.wait().await;
        self.inner.clear(id, up_to).await
    }
}
