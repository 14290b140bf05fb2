//! The file of API keys, read again when it changes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch as channel;

use super::keys_file::{KeyTable, KeysError, read};
use super::{Denied, Digest, Grant};
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::{Metrics, WatchedFile};
use crate::words::Timestamp;

/// How often a file is looked at. Its content is compared, so Kubernetes' symlink swaps are seen like any change.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// API keys.
pub(super) struct ApiKeys {
    file: PathBuf,
    policies: Vec<String>,
    first: Arc<[u8]>,
    table: RwLock<Arc<KeyTable>>,
}

impl ApiKeys {
    pub fn load(file: &Path, policies: &[&str]) -> Result<Self, KeysError> {
        let first = read(file)?;
        let table = KeyTable::parse(file, &first, policies)?;
        let policies = policies.iter().map(|name| (*name).to_owned()).collect();
        Ok(Self { file: file.to_owned(), policies, first, table: RwLock::new(Arc::new(table)) })
    }

    pub fn admit(&self, digest: &Digest, now: Timestamp) -> Result<Grant, Denied> {
        self.table().admit(digest, now)
    }

    pub fn knows(&self, digest: &Digest) -> bool {
        self.table().knows(digest)
    }

    /// Takes over what the file says whenever it changes; one that is wrong or gone changes nothing and is told of once.
    pub async fn watch(
        self: Arc<Self>,
        shutdown: Shutdown,
        metrics: Arc<Metrics>,
        changed: channel::Sender<()>,
    ) {
        let closing = shutdown.closing();
        let mut last = Some(Arc::clone(&self.first));
        metrics.process.note_loaded(WatchedFile::Keys);
        while closing.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let file = self.file.clone();
            let Ok(now) = tokio::task::spawn_blocking(move || read(&file)).await else { continue };
            if now.as_ref().ok() == last.as_ref() {
                continue;
            }
            last = now.as_ref().ok().cloned();
            let taken = now.and_then(|content| self.take_over(&content));
            metrics.process.note_reload(WatchedFile::Keys, taken.as_ref().copied());
            if taken.is_ok() {
                changed.send_replace(());
            }
        }
    }

    fn take_over(&self, content: &[u8]) -> Result<(), KeysError> {
        let policies: Vec<_> = self.policies.iter().map(String::as_str).collect();
        let table = KeyTable::parse(&self.file, content, &policies)?;
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        Ok(())
    }

    fn table(&self) -> Arc<KeyTable> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
