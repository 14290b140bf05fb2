//! What the measured processes cost, read from `/proc` (Linux).

use std::fs;

use serde::Serialize;

/// The kernel counts CPU time in hundredths of a second for everyone who reads `/proc`, on every machine.
const TICKS_PER_SECOND: f64 = 100.0;

/// One look at a process.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Memory that is resident, in bytes.
    pub rss: u64,
    /// CPU time it has used, all threads together.
    pub cpu_seconds: f64,
    /// Open files and sockets.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
}

impl Look {
    /// Looks at a process; nothing, if it is gone or not ours to look at.
    pub fn at(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let number = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name is in parentheses and may have anything in it; user and system time are the 12th and 13th after it.
        let (_, rest) = stat.rsplit_once(')')?;
        let ticks = rest.split_whitespace().skip(11).take(2).map(|text| text.parse::<f64>().ok());
        let ticks = ticks.sum::<Option<f64>>()?;
        Some(Self {
            rss: number("VmRSS:")? * 1024,
            cpu_seconds: ticks / TICKS_PER_SECOND,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64,
            threads: number("Threads:")?,
        })
    }
}

/// The looks at one process during a run.
pub struct Watched {
    pid: u32,
    /// Before the first connection.
    before: Option<Look>,
    /// With all idle sockets open.
    open: Option<Look>,
    /// At the end of the warm-up.
    from: Option<Look>,
    /// At the end of the window.
    to: Option<Look>,
}

/// What a process cost.
#[derive(Debug, Serialize)]
pub struct Cost {
    /// The process.
    pub pid: u32,
    /// Memory before the first connection, in bytes.
    pub rss_start: u64,
    /// Memory at the end of the warm-up.
    pub rss_warm: u64,
    /// Memory at the end.
    pub rss_end: u64,
    /// CPU time from the end of the warm-up to the end.
    pub cpu_seconds: f64,
    /// The same, for each completed turn or request; absent without any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ms_per_request: Option<f64>,
    /// Of one core, in that time.
    pub cpu_share: f64,
    /// What each idle socket added to the memory; absent without any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rss_per_idle_socket: Option<f64>,
    /// Open files and sockets before the first connection.
    pub descriptors_start: u64,
    /// And at the end.
    pub descriptors_end: u64,
    /// Threads at the end.
    pub threads: u64,
}

impl Watched {
    /// Looks for the first time.
    pub fn begin(pid: u32) -> Self {
        Self { pid, before: Look::at(pid), open: None, from: None, to: None }
    }

    /// All idle sockets are open.
    pub fn open(&mut self) {
        self.open = Look::at(self.pid);
    }

    /// The warm-up is over.
    pub fn warm(&mut self) {
        self.from = Look::at(self.pid);
    }

    /// The window is over.
    pub fn end(&mut self) {
        self.to = Look::at(self.pid);
    }

    /// What it cost; nothing if it was not there all the time.
    pub fn cost(&self, completed: u64, seconds: f64, idle_sockets: u64) -> Option<Cost> {
        let (before, open, from, to) = (self.before?, self.open?, self.from?, self.to?);
        let cpu_seconds = (to.cpu_seconds - from.cpu_seconds).max(0.0);
        let grown = open.rss.saturating_sub(before.rss) as f64;
        Some(Cost {
            pid: self.pid,
            rss_start: before.rss,
            rss_warm: from.rss,
            rss_end: to.rss,
            cpu_seconds: (cpu_seconds * 100.0).round() / 100.0,
            cpu_ms_per_request: (completed > 0).then(|| round(cpu_seconds * 1_000.0 / completed as f64)),
            cpu_share: round(cpu_seconds / seconds.max(f64::MIN_POSITIVE)),
            rss_per_idle_socket: (idle_sockets > 0).then(|| (grown / idle_sockets as f64).round()),
            descriptors_start: before.descriptors,
            descriptors_end: to.descriptors,
            threads: to.threads,
        })
    }
}

fn round(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_look_at_ourselves_finds_memory_threads_and_a_descriptor_more() {
        let pid = std::process::id();
        let before = Look::at(pid).unwrap();
        assert!(before.rss > 100_000 && before.threads >= 1);
        let _held: Vec<_> = (0..50).map(|_| fs::File::open("/proc/self/status").unwrap()).collect();
        assert!(Look::at(pid).unwrap().descriptors >= before.descriptors.min(50) + 40);
        assert!(Look::at(u32::MAX).is_none());
    }
}
