//! One way to tell of a file that was read again.

use std::time::{SystemTime, UNIX_EPOCH};

use tracing::{info, warn};

use super::{Label as _, Outcome, Process, WatchedFile};
use crate::telemetry::Chain;

impl Process {
    /// The file was read for the first time.
    pub fn note_loaded(&self, file: WatchedFile) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.reloaded.set(&(file,), i64::try_from(now).unwrap_or(i64::MAX));
    }

    /// The file has changed and was taken over, or is wrong and changes nothing: a count and a log line.
    pub fn note_reload<E: std::error::Error + 'static>(&self, file: WatchedFile, taken: Result<(), &E>) {
        let name = file.as_label();
        match taken {
            Ok(()) => {
                self.note_loaded(file);
                self.reloads.inc(&(file, Outcome::Ok));
                info!(event = "config_reloaded", file = name, "file taken over");
            }
            Err(error) => {
                self.reloads.inc(&(file, Outcome::Error));
                let error = Chain(error);
                warn!(event = "config_reload_failed", file = name, %error, "file is wrong; nothing changes");
            }
        }
    }
}
