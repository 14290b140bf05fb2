//! A memory that replicas share, and what this replica keeps of it for when it is away (`state.md` §5 and §6).
//!
//! Everything said here is in the copy first, and pinned there until it is known to be shared. What replicas have of a
//! conversation is the newest messages above the highest mark, of a turn the replies that were shared first; so the two
//! can be brought together in any order, at any time, and as often as one likes. A conversation that is here, has not
//! expired, and is not there was lost there: it cannot have expired there before it does here, and where it was
//! forgotten its mark has not expired either.

mod journal;
mod keeper;
mod listing;
mod page;
mod pages;
mod shared;
mod shelf;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use journal::{Journal, Sharing};
use keeper::Keeper;
pub(super) use listing::Walk;
use pages::Own;
pub use shared::{Answer, Became, Failed, Found, News, Portion, SharedMemory};
use tokio::join;
use tokio::time::Instant;
use tracing::debug;

use super::{History, Listing, ListingQuery, Memory, MemoryUnavailable, Written};
use crate::config;
use crate::shutdown::Shutdown;
use crate::telemetry::Chain;
use crate::telemetry::metrics::Metrics;
use crate::words::{ConversationKey, Message, MessageId, PrincipalHash};

/// A shared memory that goes on in this process while it cannot be asked, and is brought up to date afterwards.
pub struct ShelteredMemory<S> {
    inside: Inside<S>,
}

struct Inside<S> {
    shared: Arc<S>,
    journal: Journal,
}

impl<S: SharedMemory> ShelteredMemory<S> {
    /// Shelters `shared`; what keeps the two in step runs until the stop.
    pub fn new(shared: S, settings: &config::Memory, metrics: Arc<Metrics>, shutdown: &Shutdown) -> Self {
        let inside = Inside { shared: Arc::new(shared), journal: Journal::new(settings, metrics) };
        shutdown.spawn(Keeper::new(inside.clone()).keep(shutdown.closing().clone()));
        Self { inside }
    }

    async fn write(
        &self,
        id: &ConversationKey,
        messages: &[Message],
        whole: bool,
    ) -> Result<Written, MemoryUnavailable> {
        let Inside { shared, journal } = &self.inside;
        let (portion, began) = (Portion::said(messages, whole, shared.now()), Instant::now());
        let sharing = journal.sharing(id);
        let here = journal.write(id, &portion, began);
        // Side by side: who waits for the one does not wait longer for the other.
        let (answer, enlisted) = join!(shared.write(id, &portion), shared.enlist(id, portion.updated_at));
        if enlisted.is_err() {
            journal.note_unlisted(id);
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(failed) => {
                self.inside.missed(sharing, &failed);
                return Ok(here);
            }
        };
        if let Err(failed) = self.inside.settled(id, messages, answer, began).await {
            self.inside.missed(sharing, &failed);
        }
        Ok(match answer.became {
            Became::Written(new) => Written::Written(new),
            Became::Known | Became::Other => Written::Known,
            Became::Cleared => Written::Cleared,
        })
    }
}

#[async_trait]
impl<S: SharedMemory> Memory for ShelteredMemory<S> {
    async fn add(
        &self,
        conversation: &ConversationKey,
        messages: &[Message],
    ) -> Result<Written, MemoryUnavailable> {
        self.write(conversation, messages, false).await
    }

    async fn merge(
        &self,
        conversation: &ConversationKey,
        turn: &[Message],
    ) -> Result<Written, MemoryUnavailable> {
        self.write(conversation, turn, true).await
    }

    async fn history(&self, conversation: &ConversationKey) -> Result<Option<History>, MemoryUnavailable> {
        let Inside { shared, journal } = &self.inside;
        let began = Instant::now();
        match shared.read(conversation).await {
            Ok(found) => {
                let history = journal.learn(conversation, found, began);
                if history.is_some() {
                    // It lives on, so must its entry; there is no hurry.
                    journal.note_unlisted(conversation);
                }
                Ok(history)
            }
            Err(failed) => match journal.read(conversation) {
                Own::Said(history) => Ok(Some(history)),
                Own::Forgotten => Ok(None),
                Own::Unknown => Err(failed.into()),
            },
        }
    }

    async fn clear(
        &self,
        conversation: &ConversationKey,
        up_to: MessageId,
    ) -> Result<bool, MemoryUnavailable> {
        let sharing = self.inside.journal.sharing(conversation);
        let here = self.inside.journal.forget(conversation, up_to, false, Instant::now());
        match self.inside.forget(conversation, up_to).await {
            Ok(any) => Ok(any || here),
            Err(failed) => {
                self.inside.missed(sharing, &failed);
                Ok(here)
            }
        }
    }

    async fn list(&self, of: PrincipalHash, query: &ListingQuery) -> Result<Listing, MemoryUnavailable> {
        let Inside { shared, journal } = &self.inside;
        let walk = Walk { unshared: journal.unshared_of(of), ..Walk::new(shared.as_ref(), of) };
        match walk.part(query).await {
            Err(Failed::Away(_)) => Ok(Listing { degraded: true, ..Listing::part(journal.list(of), query) }),
            part => Ok(part?),
        }
    }
}

impl<S: SharedMemory> Inside<S> {
    /// Takes in what became of messages that were written to the shared memory by a call that began at `began`.
    async fn settled(
        &self,
        id: &ConversationKey,
        messages: &[Message],
        answer: Answer,
        began: Instant,
    ) -> Result<(), Failed> {
        if let Some(mark) = answer.mark {
            self.journal.forget(id, mark, true, began);
        }
        if answer.became == Became::Other {
            let began = Instant::now();
            let found = self.shared.read(id).await?;
            self.journal.learn_turn(id, messages, found, began);
        } else {
            self.journal.confirm(id, messages, began);
        }
        Ok(())
    }

    /// Something has to be shared later. The breaker and the commands' metrics tell of the fault.
    fn missed(&self, sharing: Sharing, failed: &Failed) {
        drop(sharing);
        debug!(error = %Chain(failed), "kept here until it can be shared");
        self.journal.needs_work();
    }
}

impl<S> Clone for Inside<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), journal: self.journal.clone() }
    }
}
