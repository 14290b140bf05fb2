//! Standard output for log lines: a thread writes, so that a reader that is slow or gone never stops the service.

use std::io::{self, Write};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use prometheus::{IntCounterVec, Opts};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait to be written; beyond that they are counted and dropped. Some seconds of a busy service.
const MAX_WAITING: usize = 8192;

/// Bytes of lines that are written at once: what a pipe holds.
const LARGEST_WRITE: usize = 64 * 1024;
/// How long lines gather after a write; a line is never later than this because of it.
const GATHER: Duration = Duration::from_millis(2);

/// Lines that were dropped. One per process, as standard output is.
#[expect(clippy::expect_used, reason = "the name and label are constants, and a test uses them")]
pub(super) static DROPPED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let options =
        Opts::new("telemetry_dropped_total", "Log lines or spans dropped because nobody took them.");
    let counter = IntCounterVec::new(options, &["signal"]).expect("a valid metric");
    for signal in ["logs", "traces"] {
        counter.with_label_values(&[signal]).reset();
    }
    counter
});

enum Work {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The way to standard output; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Output {
    waiting: SyncSender<Work>,
}

impl Output {
    /// Starts the thread that writes; it ends with the last clone.
    pub fn stdout() -> io::Result<Self> {
        Self::to(io::stdout())
    }

    /// Starts a thread that writes to `sink`.
    pub fn to(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let (waiting, work) = sync_channel(MAX_WAITING);
        thread::Builder::new().name("log".into()).spawn(move || write_all(sink, &work))?;
        Ok(Self { waiting })
    }

    /// Takes a whole line, or drops it if too many wait.
    pub fn line(&self, line: Vec<u8>) {
        if self.waiting.try_send(Work::Line(line)).is_err() {
            DROPPED.with_label_values(&["logs"]).inc();
        }
    }

    /// Waits until all lines so far are written, for at most `limit`.
    pub fn flush(&self, limit: Duration) {
        let (done, written) = sync_channel(1);
        if self.waiting.try_send(Work::Flush(done)).is_ok() {
            // Too late or never: either way there is nothing more to do.
            let _ = written.recv_timeout(limit);
        }
    }
}

/// Writes all lines that wait at once, then lets others gather: a busy service neither wakes this thread for each line nor
/// makes a system call for it. Errors are passed over: there is no other place to report them, and the next reader may be better.
fn write_all(mut sink: impl Write, work: &Receiver<Work>) {
    let mut lines = Vec::new();
    while let Ok(first) = work.recv() {
        for work in std::iter::once(first).chain(work.try_iter().take(MAX_WAITING)) {
            match work {
                Work::Line(line) => lines.extend_from_slice(&line),
                Work::Flush(done) => {
                    write_out(&mut sink, &mut lines);
                    let _ = done.try_send(());
                }
            }
            if lines.len() >= LARGEST_WRITE {
                write_out(&mut sink, &mut lines);
            }
        }
        write_out(&mut sink, &mut lines);
        thread::sleep(GATHER);
    }
}

fn write_out(sink: &mut impl Write, lines: &mut Vec<u8>) {
    let _ = sink.write_all(lines);
    let _ = sink.flush();
    lines.clear();
}

/// One line for the human format, which writes it in one piece.
impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.line(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that takes nothing until it is let.
    struct Blocked(Receiver<()>);

    impl Write for Blocked {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(line.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_takes_nothing_costs_lines_but_never_stops_the_writer() {
        let (let_go, wait) = sync_channel(1);
        let output = Output::to(Blocked(wait)).unwrap();
        let before = DROPPED.with_label_values(&["logs"]).get();
        for _ in 0..MAX_WAITING + 100 {
            output.line(b"line\n".to_vec());
        }
        let dropped = DROPPED.with_label_values(&["logs"]).get() - before;
        assert!((90..=100).contains(&dropped), "{dropped}");
        drop(let_go);
    }
}
