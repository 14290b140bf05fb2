use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// More are forgotten, the oldest first.
const KEPT: usize = 20_000;

/// What a process writes, read all the time so that it never waits for its reader.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Newest>>);

#[derive(Default)]
struct Newest {
    lines: VecDeque<String>,
    forgotten: usize,
}

impl Lines {
    /// Reads to the end of the process, on a thread of its own: nothing a test does holds it up.
    pub fn read(&self, from: impl Read + Send + 'static) {
        let to = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(from).split(b'\n') {
                let Ok(line) = line else { return };
                to.add(String::from_utf8_lossy(&line).into_owned());
            }
        });
    }

    fn add(&self, line: String) {
        let mut newest = self.0.lock().unwrap();
        newest.lines.push_back(line);
        if newest.lines.len() > KEPT {
            newest.lines.pop_front();
            newest.forgotten += 1;
        }
    }

    /// How many have come, of all times.
    pub fn count(&self) -> usize {
        let newest = self.0.lock().unwrap();
        newest.forgotten + newest.lines.len()
    }

    /// The log lines of this event that came after so many others.
    pub fn events(&self, event: &str, after: usize) -> Vec<Value> {
        let newest = self.0.lock().unwrap();
        let lines = newest.lines.iter().skip(after.saturating_sub(newest.forgotten));
        // What is no log line is what a panic or the linker says.
        let parsed = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        parsed.filter(|line| line["event"] == event).collect()
    }

    /// The last of them.
    pub fn last(&self, count: usize) -> String {
        let newest = self.0.lock().unwrap();
        let skipped = newest.lines.len().saturating_sub(count);
        newest.lines.iter().skip(skipped).cloned().collect::<Vec<_>>().join("\n")
    }
}
