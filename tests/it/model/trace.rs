//! What happened in a run, told only when somebody wants to know.

use std::sync::{Arc, Mutex};

use tokio::time::Instant;

/// Remembers nothing unless it is told to: most runs go well, and telling costs more than running.
#[derive(Clone, Debug, Default)]
pub struct Trace(Option<Arc<Notes>>);

#[derive(Debug)]
struct Notes {
    began: Instant,
    lines: Mutex<Vec<String>>,
}

impl Trace {
    pub fn kept() -> Self {
        Self(Some(Arc::new(Notes { began: Instant::now(), lines: Mutex::default() })))
    }

    pub fn note(&self, line: impl FnOnce() -> String) {
        if let Some(notes) = &self.0 {
            let line = format!("{:9.3} {}", notes.began.elapsed().as_secs_f64(), line());
            notes.lines.lock().unwrap().push(line);
        }
    }

    pub fn told(&self) -> String {
        self.0.as_ref().map(|notes| notes.lines.lock().unwrap().join("\n")).unwrap_or_default()
    }
}
