//! A memory that counts and times what is asked of it.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{History, Listing, ListingQuery, Memory, MemoryUnavailable, Written};
use crate::telemetry::metrics::{Backend, MemoryOperation, Metrics, Outcome};
use crate::words::{ConversationKey, Message, MessageId, PrincipalHash};

/// Counts and times every operation of the memory behind it.
#[derive(Debug)]
pub struct Measured<M> {
    inner: M,
    backend: Backend,
    metrics: Arc<Metrics>,
}

impl<M: Memory> Measured<M> {
    /// Measures `inner`, which keeps its conversations in `backend`.
    pub fn new(inner: M, backend: Backend, metrics: Arc<Metrics>) -> Self {
        for &operation in MemoryOperation::ALL {
            metrics.memory.operations.touch(&(backend, operation, Outcome::Ok));
            metrics.memory.operations.touch(&(backend, operation, Outcome::Error));
        }
        Self { inner, backend, metrics }
    }

    async fn measure<T>(
        &self,
        operation: MemoryOperation,
        work: impl Future<Output = Result<T, MemoryUnavailable>>,
    ) -> Result<T, MemoryUnavailable> {
        let began = Instant::now();
        let result = work.await;
        let outcome = if result.is_ok() { Outcome::Ok } else { Outcome::Error };
        self.metrics.memory.operations.inc(&(self.backend, operation, outcome));
        self.metrics.memory.duration.observe(&(self.backend, operation), began.elapsed());
        result
    }
}

#[async_trait]
impl<M: Memory> Memory for Measured<M> {
    async fn add(
        &self,
        conversation: &ConversationKey,
        messages: &[Message],
    ) -> Result<Written, MemoryUnavailable> {
        self.measure(MemoryOperation::Add, self.inner.add(conversation, messages)).await
    }

    async fn merge(
        &self,
        conversation: &ConversationKey,
        turn: &[Message],
    ) -> Result<Written, MemoryUnavailable> {
        self.measure(MemoryOperation::Add, self.inner.merge(conversation, turn)).await
    }

    async fn history(&self, conversation: &ConversationKey) -> Result<Option<History>, MemoryUnavailable> {
        self.measure(MemoryOperation::History, self.inner.history(conversation)).await
    }

    async fn clear(
        &self,
        conversation: &ConversationKey,
        up_to: MessageId,
    ) -> Result<bool, MemoryUnavailable> {
        self.measure(MemoryOperation::Clear, self.inner.clear(conversation, up_to)).await
    }

    async fn list(&self, of: PrincipalHash, query: &ListingQuery) -> Result<Listing, MemoryUnavailable> {
        self.measure(MemoryOperation::List, self.inner.list(of, query)).await
    }
}
