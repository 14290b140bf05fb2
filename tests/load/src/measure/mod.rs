//! What is measured while the load runs. One lock, taken once a turn.

mod series;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

pub use series::{Second, Series};

use crate::outcome::Outcome;
use crate::verify::Flaws;

/// Nothing is waited for longer; also the histograms' upper bound.
const LONGEST: Duration = Duration::from_secs(3600);

/// A histogram of times in nanoseconds.
pub type Times = Histogram<u64>;

/// The part of a run that counts: what was due in it.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// When the run began.
    pub start: Instant,
    /// When the warm-up ends.
    pub from: Instant,
    /// When nothing more is asked.
    pub to: Instant,
}

impl Window {
    /// Begins now.
    pub fn begin(warm_up: Duration, duration: Duration) -> Self {
        let start = Instant::now();
        Self { start, from: start + warm_up, to: start + warm_up + duration }
    }

    fn holds(&self, time: Instant) -> bool {
        self.from <= time && time < self.to
    }
}

/// Everything that is counted.
pub struct Counts {
    /// From when a turn was due until its end came; only of turns that were completed.
    pub latency: Times,
    /// From when a turn was due until its first token.
    pub first_token: Times,
    /// Between two tokens of one reply.
    pub token_gap: Times,
    /// From when a turn was due until it was refused.
    pub refusal: Times,
    /// From when a turn was due until it was asked for: the generator's own share, and waiting for a free place in it.
    pub late: Times,
    /// Turns that were due in the window and were completed without a flaw.
    pub completed: u64,
    /// Turns that were completed inside the window, also when they were due before it.
    pub completed_inside: u64,
    /// Refusals (429 and 503) by code.
    pub refused: BTreeMap<String, u64>,
    /// Other failures by kind.
    pub errors: BTreeMap<String, u64>,
    /// Answers by status; what is completed over a socket counts as 200.
    pub statuses: BTreeMap<u16, u64>,
    /// Completed turns by kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// What was wrong with events.
    pub flaws: Flaws,
    /// Tokens, or events that hold text.
    pub tokens: u64,
    /// Bytes of answers.
    pub bytes: u64,
    /// Connections that were dropped on purpose and resumed.
    pub dropped_connections: u64,
    /// Connections that broke by themselves and were resumed.
    pub broken_connections: u64,
    /// Arrivals that found every place to wait taken.
    pub not_asked: u64,
    /// One line a second.
    pub series: Series,
}

/// The counts of a run.
pub struct Measures {
    window: Mutex<Window>,
    counts: Mutex<Counts>,
}

impl Measures {
    /// Counts what is due in this window.
    pub fn new(window: Window) -> Self {
        let counts = Counts {
            latency: times(3),
            first_token: times(3),
            token_gap: times(3),
            refusal: times(3),
            late: times(3),
            completed: 0,
            completed_inside: 0,
            refused: BTreeMap::new(),
            errors: BTreeMap::new(),
            statuses: BTreeMap::new(),
            kinds: BTreeMap::new(),
            flaws: Flaws::default(),
            tokens: 0,
            bytes: 0,
            dropped_connections: 0,
            broken_connections: 0,
            not_asked: 0,
            series: Series::new(window.start),
        };
        Self { window: Mutex::new(window), counts: Mutex::new(counts) }
    }

    /// The window, as it is now.
    pub fn window(&self) -> Window {
        *self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the window now, if it has not ended.
    pub fn end_now(&self) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.to = window.to.min(Instant::now());
        window.from = window.from.min(window.to);
    }

    /// What was counted so far.
    pub fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a turn that was due at `due`, asked for at `asked` and ended just now.
    pub fn record(&self, due: Instant, asked: Instant, outcome: &Outcome) {
        let now = Instant::now();
        let window = self.window();
        let mut counts = self.counts();
        counts.series.record(now, due, outcome);
        if window.holds(now) && is_right(outcome) {
            counts.completed_inside += 1;
        }
        if window.holds(due) {
            counts.add(due, asked, now, outcome);
        }
    }

    /// Counts an arrival that could not even wait.
    pub fn not_asked(&self, due: Instant) {
        let holds = self.window().holds(due);
        let mut counts = self.counts();
        counts.series.not_asked();
        counts.not_asked += u64::from(holds);
    }

    /// Counts a turn of the window that was given up after it.
    pub fn unfinished(&self, count: u64) {
        if count > 0 {
            *self.counts().errors.entry("unfinished_at_the_end".to_owned()).or_default() += count;
        }
    }
}

/// Completed, and nothing wrong with it.
fn is_right(outcome: &Outcome) -> bool {
    outcome.result.is_ok() && outcome.flaws.is_none()
}

impl Counts {
    fn add(&mut self, due: Instant, asked: Instant, now: Instant, outcome: &Outcome) {
        note(&mut self.late, asked.saturating_duration_since(due));
        match &outcome.result {
            Ok(()) => {
                note(&mut self.latency, now - due);
                self.completed += u64::from(outcome.flaws.is_none());
                *self.kinds.entry(outcome.kind.name()).or_default() += 1;
                *self.statuses.entry(200).or_default() += 1;
            }
            Err(fault) => {
                if let Some(status) = fault.status {
                    *self.statuses.entry(status).or_default() += 1;
                }
                let by_kind = if fault.is_refusal { &mut self.refused } else { &mut self.errors };
                *by_kind.entry(fault.kind.to_string()).or_default() += 1;
                if fault.is_refusal {
                    note(&mut self.refusal, now - due);
                }
            }
        }
        if !outcome.flaws.is_none() {
            *self.errors.entry("wrong_events".to_owned()).or_default() += 1;
        }
        if let Some(first) = outcome.first_token {
            note(&mut self.first_token, first.saturating_duration_since(due));
        }
        for gap in &outcome.gaps {
            note(&mut self.token_gap, *gap);
        }
        self.flaws.add(&outcome.flaws);
        self.tokens += outcome.tokens;
        self.bytes += outcome.bytes;
        self.dropped_connections += outcome.dropped;
        self.broken_connections += outcome.broken;
    }
}

fn times(digits: u8) -> Times {
    let longest = u64::try_from(LONGEST.as_nanos()).unwrap_or(u64::MAX);
    // The bounds and the digits are constants that the library takes; two digits are enough to draw.
    Histogram::new_with_bounds(1, longest, digits).unwrap_or_else(|_| unreachable!("constant bounds"))
}

fn note(times: &mut Times, span: Duration) {
    times.saturating_record(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX).max(1));
}

/// Nanoseconds as milliseconds.
pub fn milliseconds(nanoseconds: f64) -> f64 {
    (nanoseconds / 1_000.0).round() / 1_000.0
}
