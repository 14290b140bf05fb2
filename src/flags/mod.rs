//! Feature flags, in OpenFeature's terms: a flagd-format JSON file, watched for changes, with a stable rollout per
//! principal. Of flagd's format just what these flags need: boolean and integer variants, and `fractional` targeting.

mod file;
mod rollout;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

pub use file::FlagsError;
use file::{Content, read};
use rollout::Rule;

use crate::shutdown::Shutdown;
use crate::telemetry::metrics::{Metrics, WatchedFile};
use crate::words::Principal;

/// How often the file is looked at. Its content is compared, so Kubernetes' symlink swaps are seen like any change.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The names of all flags, as files give them.
const KNOWN: [&str; 4] = ["routing", "routing_cache", "parallel_replies", "max_personas"];

/// What can be switched on and off; all are on where no file says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flag {
    /// The model chooses who answers.
    Routing,
    /// Its choices are remembered.
    RoutingCache,
    /// Personas answer at the same time.
    ParallelReplies,
}

/// What the file says.
#[derive(Debug, Default)]
struct Table {
    routing: Rule<bool>,
    routing_cache: Rule<bool>,
    parallel_replies: Rule<bool>,
    max_personas: Rule<NonZeroUsize>,
}

/// The flags in force.
#[derive(Debug)]
pub struct Flags {
    table: RwLock<Arc<Table>>,
    file: Option<(PathBuf, Content)>,
}

impl Flags {
    /// Reads the file; without one every flag has its default.
    pub fn load(file: Option<&Path>) -> Result<Arc<Self>, FlagsError> {
        let Some(path) = file else {
            return Ok(Arc::new(Self { table: RwLock::default(), file: None }));
        };
        let content = read(path);
        let table = Table::parse(&content)?;
        Ok(Arc::new(Self { table: RwLock::new(Arc::new(table)), file: Some((path.to_owned(), content)) }))
    }

    /// Whether the flag is on for this caller; the same answer every time while the file stays as it is.
    pub fn is_on(&self, flag: Flag, principal: &Principal) -> bool {
        let table = self.table();
        let (name, rule) = match flag {
            Flag::Routing => ("routing", &table.routing),
            Flag::RoutingCache => ("routing_cache", &table.routing_cache),
            Flag::ParallelReplies => ("parallel_replies", &table.parallel_replies),
        };
        rule.value(name, &principal.to_string()).unwrap_or(true)
    }

    /// How many personas may answer this caller: what the file says, but never more than `bound`
    /// (`turns.max_personas`), which is also the default.
    pub fn max_personas(&self, principal: &Principal, bound: usize) -> usize {
        let said = self.table().max_personas.value("max_personas", &principal.to_string());
        said.map_or(bound, |said| said.get().min(bound))
    }

    /// Takes over what the file says whenever it changes, until `shutdown` closes. A file that is wrong or gone changes
    /// nothing and is told of once.
    pub async fn watch(self: Arc<Self>, shutdown: Shutdown, metrics: Arc<Metrics>) {
        let Some((path, content)) = &self.file else { return };
        let mut last = content.clone();
        metrics.process.note_loaded(WatchedFile::Flags);
        loop {
            tokio::select! {
                () = shutdown.closing().cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let path = path.clone();
            let Ok(now) = tokio::task::spawn_blocking(move || read(&path)).await else { continue };
            if now != last {
                self.take_over(&now, &metrics);
                last = now;
            }
        }
    }

    fn take_over(&self, content: &Content, metrics: &Metrics) {
        let taken = Table::parse(content);
        metrics.process.note_reload(WatchedFile::Flags, taken.as_ref().map(|_| ()));
        if let Ok(table) = taken {
            *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        }
    }

    fn table(&self) -> Arc<Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
