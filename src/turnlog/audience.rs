//! Who reads a turn on its owner.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::live::Live;

/// How many readers there are, and whether the last of them left by itself.
#[derive(Clone, Copy, Debug, Default)]
struct Heads {
    readers: usize,
    abandoned: bool,
}

/// The local readers of one turn.
#[derive(Debug, Default)]
pub(super) struct Audience(watch::Sender<Heads>);

impl Audience {
    pub(super) fn readers(&self) -> usize {
        self.0.borrow().readers
    }

    /// Waits until the last reader left by itself and, for so long after that, nobody came or went.
    pub(super) async fn abandoned_for(&self, long: Duration) {
        let mut heads = self.0.subscribe();
        loop {
            // Both can only fail when the sender is gone, and that is borrowed here.
            let _ = heads.wait_for(|heads| heads.abandoned).await;
            if timeout(long, heads.changed()).await.is_err() {
                return;
            }
        }
    }

    fn came(&self) {
        self.0.send_modify(|heads| *heads = Heads { readers: heads.readers + 1, abandoned: false });
    }

    fn left(&self, by_itself: bool) {
        self.0.send_modify(|heads| {
            heads.readers = heads.readers.saturating_sub(1);
            heads.abandoned = by_itself && heads.readers == 0;
        });
    }
}

/// One reader's seat; leaves it when dropped.
pub(super) struct Seat {
    live: Arc<Live>,
    by_itself: bool,
}

impl Seat {
    pub(super) fn take(live: Arc<Live>) -> Self {
        live.audience().came();
        Self { live, by_itself: true }
    }

    pub(super) fn live(&self) -> &Live {
        &self.live
    }

    /// From now on, leaving is not the reader's own doing.
    pub(super) fn dismiss(&mut self) {
        self.by_itself = false;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.live.audience().left(self.by_itself);
    }
}
