//! Sharing what could not be shared when it was said.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::Inside;
use super::shared::{Failed, Portion, SharedMemory};
use crate::memory::ListingPlace;
use crate::redis::Resync;
use crate::resilience::jittered;
use crate::telemetry::Chain;
use crate::words::{ConversationKey, MessageId, Realm};

/// How often news of forgotten conversations are read.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// Pauses between attempts to share: the first, and the longest, which is also the one while there is nothing to do.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// What a failover may have lost at most: replicas of Redis are rarely a second behind.
const DOUBTFUL: Duration = Duration::from_mins(1);

/// Conversations that are looked for at once, so that no look holds the copy for long.
const BATCH: usize = 128;

/// Conversations that are brought up to date side by side: enough to fill a connection, and callers get between.
const AT_ONCE: usize = 8;

/// The last attempt at a stop: connections end soon after.
const LAST_WORDS: Duration = Duration::from_millis(800);

/// Brings what is here to where replicas share it, and forgets here what was forgotten elsewhere.
pub(super) struct Keeper<S> {
    inside: Inside<S>,
    resync: watch::Receiver<Resync>,
    seen: Resync,
    /// How far the news are read; nothing yet, if not at all.
    place: Option<String>,
    /// The pause until the next attempt; none if the last one left nothing to do.
    pause: Option<Duration>,
}

impl<S: SharedMemory> Keeper<S> {
    pub(super) fn new(inside: Inside<S>) -> Self {
        let resync = inside.shared.resync();
        let seen = *resync.borrow();
        Self { inside, resync, seen, place: None, pause: None }
    }

    /// Works until the process stops, then makes a last attempt.
    pub(super) async fn keep(mut self, closing: CancellationToken) {
        let working = async {
            loop {
                self.round().await;
                self.until_due().await;
            }
        };
        let _: Option<Infallible> = closing.run_until_cancelled(working).await;
        drop(timeout(LAST_WORDS, self.inside.catch_up()).await);
        self.inside.journal.give_up_all();
    }

    async fn until_due(&mut self) {
        let is_idle = self.pause.is_none();
        let pause = self.pause.map_or(FOLLOW_EVERY, jittered);
        tokio::select! {
            () = sleep(pause) => {}
            () = self.inside.journal.has_work(), if is_idle => {}
            Ok(()) = self.resync.changed() => {}
        }
    }

    async fn round(&mut self) {
        self.look_back();
        let (waiting, _) = self.inside.journal.unconfirmed();
        match self.attempt().await {
            Ok(()) => {
                let failed_before = self.pause.take().is_some();
                if failed_before && waiting > 0 {
                    info!(event = "memory_recovered", messages = waiting, "what waited for redis is there");
                }
            }
            Err(error) => {
                debug!(error = %Chain(&error), "not everything could be shared");
                self.pause = Some(self.pause.map_or(FIRST_PAUSE, |pause| (pause * 2).min(FOLLOW_EVERY)));
            }
        }
    }

    /// Does what there is to do, as far as the shared memory can be asked.
    async fn attempt(&mut self) -> Result<(), Failed> {
        if !self.inside.shared.is_reachable() {
            return Err(Failed::Away("it has failed of late".into()));
        }
        let followed = self.follow().await;
        let caught_up = self.inside.catch_up().await;
        followed.and(caught_up)
    }

    /// After a return the last writes may be missing, after a loss all are; both ways the list of news may be another.
    fn look_back(&mut self) {
        let now = *self.resync.borrow_and_update();
        let seen = std::mem::replace(&mut self.seen, now);
        if now == seen {
            return;
        }
        let lost = now.losses > seen.losses;
        self.inside.journal.doubt((!lost).then_some(DOUBTFUL));
        if self.place.is_some() {
            self.place = Some(String::new());
        }
    }

    /// Forgets what was forgotten elsewhere. Whoever has nothing yet has missed nothing.
    async fn follow(&mut self) -> Result<(), Failed> {
        let shared = &self.inside.shared;
        let mut place = match self.place.take() {
            Some(place) => place,
            None => {
                let newest = shared.newest_news().await?.place;
                if self.inside.journal.is_empty() { newest } else { String::new() }
            }
        };
        loop {
            self.place = Some(place.clone());
            let news = shared.news_after(&place).await?;
            self.inside.journal.hear(&news.forgotten);
            if news.place == place {
                return Ok(());
            }
            place = news.place;
        }
    }
}

impl<S: SharedMemory> Inside<S> {
    /// Shares all that waits for it. What is refused does not keep the rest waiting.
    async fn catch_up(&self) -> Result<(), Failed> {
        let (mut done, mut refused) = (BTreeSet::new(), None);
        loop {
            let work = self.journal.work(BATCH, &done);
            if work.is_empty() {
                return refused.map_or(Ok(()), Err);
            }
            let mut results = stream::iter(work.clone()).map(|id| self.settle(id)).buffer_unordered(AT_ONCE);
            while let Some(result) = results.next().await {
                match result {
                    Err(Failed::Away(error)) => return Err(Failed::Away(error)),
                    Err(error) => refused = Some(error),
                    Ok(()) => {}
                }
            }
            done.extend(work);
        }
    }

    /// Shares all of one conversation: its mark first, so that nobody sees what was forgotten.
    async fn settle(&self, id: ConversationKey) -> Result<(), Failed> {
        let id = &id;
        if self.journal.is_doubted(id) {
            let began = Instant::now();
            self.journal.learn(id, self.shared.read(id).await?, began);
        }
        let (mark, portions) = self.journal.unshared(id);
        if let Some(mark) = mark {
            self.forget(id, mark).await?;
        }
        for portion in &portions {
            self.share(id, portion).await?;
        }
        if let Some(updated_at) = self.journal.updated(id) {
            self.shared.enlist(id, updated_at).await?;
        }
        self.journal.trust(id);
        Ok(())
    }

    async fn share(&self, id: &ConversationKey, portion: &Portion) -> Result<(), Failed> {
        let began = Instant::now();
        let answer = self.shared.write(id, portion).await?;
        self.settled(id, &portion.messages, answer, began).await
    }

    /// Forgets where all replicas see it, and tells them; answers whether there was anything.
    pub(super) async fn forget(&self, id: &ConversationKey, up_to: MessageId) -> Result<bool, Failed> {
        let began = Instant::now();
        if let Realm::Own(of) = id.realm() {
            // First: who speaks there meanwhile puts it into the list again.
            let gone = ListingPlace { updated_at: self.shared.now(), id: id.id().clone() };
            self.shared.strike(of, &[gone]).await?;
        }
        let (any, mark) = self.shared.forget(id, up_to).await?;
        self.shared.tell(id, mark).await?;
        self.journal.forget(id, mark, true, began);
        Ok(any)
    }
}
