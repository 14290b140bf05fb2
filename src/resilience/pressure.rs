//! How long work waits for a processor in this process, and how many pieces of work may be under way so that it does not wait
//! longer.
//!
//! The bound adapts as limits of concurrency do (Netflix' `concurrency-limits`; AIMD): it is cut below what is under way while work
//! waits too long, and grows while it is used and work does not. Not a share of what arrives is refused (PIE, RFC 8033), because
//! the work of a turn comes when its model speaks, seconds after it was admitted, and such a loop swings; and not all or nothing,
//! because then the processor idles after it was overwhelmed.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;
use std::{io, thread};

use tokio::sync::mpsc::{Sender, channel};
use tokio::time::Instant;

/// How often it is measured while there is much to do, and otherwise. Under load each measurement waits in the queue that it
/// measures, so that it is as frequent as the queue is short.
const TICK: Duration = Duration::from_millis(5);
const IDLE_TICK: Duration = Duration::from_millis(50);
/// How long work has to wait too long before there is a bound: a stop of the whole process, however long, is over when it is
/// noticed. As in CoDel (RFC 8289 §3), a queue that stands is what matters, not one that passes.
const STANDING: Duration = Duration::from_millis(300);
/// How long it has to wait too long before the bound is cut, and cut again.
const STEP: Duration = Duration::from_millis(100);
/// For how long a bound stays that keeps nothing out.
const UNUSED: Duration = Duration::from_secs(10);
/// Of what is under way while work waits too long, so much is cut, times how often over it waits; at most half.
const CUT: f64 = 0.05;
const MOST_CUT: f64 = 0.5;
/// By how much the bound grows in a second while work does not wait at all, and less the longer it does. What it lets in speaks half
/// a second later; by then it has not grown by much.
const GROWTH: f64 = 0.2;
/// And if work has waited for less than such a part of what it may for so long: what overwhelmed us is over.
const FAST_GROWTH: f64 = 1.0;
const CALM: Duration = Duration::from_secs(2);
const CALM_LOAD: f64 = 0.1;
/// A measurement counts for at most so long.
const LONGEST: Duration = Duration::from_millis(100);
/// With fewer under way than this it is not they that there is too much of, and to refuse one would help nobody.
const FEW: usize = 32;

/// Measures how long a task that is ready waits to run.
///
/// A thread of its own wakes the task. What a worker of tokio wakes goes into that worker's own queue; what comes from elsewhere, or
/// does not fit into it (256 tasks), goes into one that is shared and looked at less often. There work waits longest, and a timer
/// of tokio's would never see it.
#[derive(Debug)]
pub struct Pressure {
    most: Duration,
    waited_us: AtomicU64,
    bound: AtomicUsize,
    /// Whether the bound kept anything out since the last measurement.
    was_used: AtomicBool,
}

/// What was seen so far.
#[derive(Default)]
struct Seen {
    at: Option<Instant>,
    /// Since when it has been too long without a break, or was cut for it.
    above_since: Option<Instant>,
    /// The least since then, and in the step before.
    least: f64,
    was_least: f64,
    used_at: Option<Instant>,
    /// When work last waited.
    busy_at: Option<Instant>,
    bound: Option<f64>,
}

impl Pressure {
    /// Work may wait for `most`; for zero, as long as it likes.
    pub fn new(most: Duration) -> Self {
        let bound = AtomicUsize::new(usize::MAX);
        Self { most, waited_us: AtomicU64::new(0), bound, was_used: AtomicBool::new(false) }
    }

    /// Whether one more piece of work may begin while so many are under way.
    pub fn lets_in(&self, under_way: usize) -> bool {
        let is_in = under_way < self.bound.load(Ordering::Relaxed);
        if !is_in {
            self.was_used.store(true, Ordering::Relaxed);
        }
        is_in
    }

    /// How many may be under way, if there is a bound.
    pub fn bound(&self) -> Option<usize> {
        Some(self.bound.load(Ordering::Relaxed)).filter(|bound| *bound < usize::MAX)
    }

    /// Whether work waited too long when that was last looked at.
    pub fn is_late(&self) -> bool {
        !self.most.is_zero() && self.waited() > self.most
    }

    /// How long work waited when that was last looked at.
    pub fn waited(&self) -> Duration {
        Duration::from_micros(self.waited_us.load(Ordering::Relaxed))
    }

    /// Measures for ever; more often while there is much `under_way`. Fails where there can be no thread.
    pub async fn watch(&self, under_way: impl Fn() -> usize) -> io::Error {
        let (wake, mut woken) = channel(1);
        let (ran, has_run) = sync_channel(1);
        let began =
            thread::Builder::new().name("pressure".to_owned()).spawn(move || wake_for_ever(&wake, &has_run));
        if let Err(error) = began {
            return error;
        }
        let mut seen = Seen::default();
        // The thread is there as long as we are.
        while let Some(due) = woken.recv().await {
            let now = Instant::now();
            let turns = under_way();
            self.saw(&mut seen, now.saturating_duration_since(due), turns, now);
            let is_idle = turns < FEW && seen.bound.is_none();
            let _ = ran.try_send(if is_idle { IDLE_TICK } else { TICK });
        }
        io::ErrorKind::BrokenPipe.into()
    }

    fn saw(&self, seen: &mut Seen, waited: Duration, under_way: usize, now: Instant) {
        self.waited_us.store(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let was_used = self.was_used.swap(false, Ordering::Relaxed);
        if !self.most.is_zero() {
            let load = waited.as_secs_f64() / self.most.as_secs_f64();
            let bound = seen.next(load, under_way, was_used, now);
            self.bound.store(bound.map_or(usize::MAX, |bound| bound as usize), Ordering::Relaxed);
        }
    }
}

/// Wakes a task at one moment after the other, until it is gone; it says how long to wait before the next.
fn wake_for_ever(wake: &Sender<Instant>, has_run: &Receiver<Duration>) {
    let mut tick = TICK;
    loop {
        thread::sleep(tick);
        if wake.blocking_send(Instant::now()).is_err() {
            return;
        }
        let Ok(next) = has_run.recv() else { return };
        tick = next;
    }
}

impl Seen {
    /// The bound, now that so many are under way and work waits for so much of what it may.
    fn next(&mut self, load: f64, under_way: usize, was_used: bool, now: Instant) -> Option<f64> {
        let passed = self.at.replace(now).map_or(TICK, |at| now - at).min(LONGEST);
        if load > CALM_LOAD {
            self.busy_at = Some(now);
        }
        if load > 1.0 {
            let since = *self.above_since.get_or_insert_with(|| {
                self.least = load;
                now
            });
            self.least = self.least.min(load);
            let step = if self.bound.is_some() { STEP } else { STANDING };
            if now - since >= step {
                self.cut(under_way);
                (self.above_since, self.used_at) = (Some(now), Some(now));
                self.least = load;
            }
            return self.bound;
        }
        (self.above_since, self.was_least) = (None, 0.0);
        let bound = self.bound?;
        if was_used {
            let is_calm = self.busy_at.is_none_or(|at| now - at > CALM);
            let growth = if is_calm { FAST_GROWTH } else { GROWTH };
            self.bound = Some(bound * (1.0 + growth * (1.0 - load) * passed.as_secs_f64()));
            self.used_at = Some(now);
        } else if self.used_at.is_none_or(|at| now - at >= UNUSED) {
            self.bound = None;
        }
        self.bound
    }

    /// A queue that became shorter is on its way: to cut more would leave the processor idle behind it.
    fn cut(&mut self, under_way: usize) {
        if self.least >= self.was_least {
            let rest = under_way as f64 * (1.0 - (CUT * self.least).min(MOST_CUT));
            let rest = rest.max(FEW as f64);
            self.bound = Some(self.bound.map_or(rest, |bound| bound.min(rest)));
        }
        self.was_least = self.least;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_millis(150);

    /// Measurements that were not made: of a time of their own.
    struct Watched {
        pressure: Pressure,
        seen: Seen,
        now: Instant,
    }

    impl Watched {
        fn new(most: Duration) -> Self {
            Self { pressure: Pressure::new(most), seen: Seen::default(), now: Instant::now() }
        }

        /// Work waits for so long, `times` times, with so many under way; the bound then.
        fn waits(&mut self, waited: Duration, times: u32, under_way: usize) -> Option<usize> {
            for _ in 0..times {
                self.now += TICK + waited;
                self.pressure.saw(&mut self.seen, waited, under_way, self.now);
            }
            self.pressure.bound()
        }
    }

    #[test]
    fn a_queue_that_stands_is_too_much_and_one_that_passes_is_not() {
        let mut work = Watched::new(MOST);
        assert_eq!(work.waits(Duration::from_secs(5), 1, 500), None, "the process stood still once");
        assert_eq!(work.waits(Duration::ZERO, 1, 500), None);
        assert_eq!(work.waits(MOST * 2, 2, 500), None, "not for long enough");
        assert_eq!(work.waits(MOST * 2, 1, 500), Some(450), "a tenth for twice as long");
        assert_eq!(work.pressure.waited(), MOST * 2);
        assert!(!work.pressure.lets_in(450) && work.pressure.lets_in(449));
    }

    #[test]
    fn while_it_is_too_much_the_bound_follows_what_is_under_way_and_few_are_always_let_in() {
        let mut work = Watched::new(MOST);
        assert_eq!(work.waits(MOST * 2, 10, 1000), Some(900), "those that are under way take their time");
        assert_eq!(work.waits(MOST * 2, 10, 800), Some(720));
        assert_eq!(work.waits(MOST * 2, 10, 1000), Some(720), "it does not rise meanwhile");
        assert_eq!(work.waits(MOST * 3 / 2, 1, 400), Some(720), "it becomes less already");
        assert_eq!(work.waits(MOST * 20, 10, 400), Some(200), "half at most");
        assert_eq!(work.waits(MOST * 20, 10, 5), Some(FEW));
        assert!(work.pressure.lets_in(FEW - 1));
    }

    #[test]
    fn a_bound_that_keeps_something_out_grows_and_one_that_does_not_ends() {
        let mut work = Watched::new(MOST);
        let mut bound = work.waits(MOST * 2, 3, 1111);
        assert_eq!(bound, Some(999));
        let second = u32::try_from(Duration::from_secs(1).as_millis() / TICK.as_millis()).unwrap();
        for _ in 0..second {
            work.pressure.lets_in(2000);
            bound = work.waits(Duration::ZERO, 1, 940);
        }
        assert!((1210..=1225).contains(&bound.unwrap()), "a fifth in a second: {bound:?}");
        for _ in 0..second * 2 {
            work.pressure.lets_in(5000);
            bound = work.waits(Duration::ZERO, 1, 1200);
        }
        assert!((2800..=4200).contains(&bound.unwrap()), "it doubles when that is over: {bound:?}");
        assert_eq!(work.waits(Duration::ZERO, second * 9, 500), bound);
        assert_eq!(work.waits(Duration::ZERO, second * 2, 500), None);
    }

    /// A processor and turns that last a second and take it 1 ms, evenly over their lives: a thousand keep it busy. Twice as many
    /// come.
    #[test]
    fn at_twice_the_peak_the_processor_stays_busy_and_the_queue_short() {
        const STEP: f64 = 0.005;
        let mut work = Watched::new(MOST);
        let (mut turns, mut queue, mut due) = (std::collections::VecDeque::new(), 0.0_f64, 0.0);
        let (mut probe_waits, mut probe_runs) = (0.0, 0.0);
        let (mut longest, mut busy) = (0.0_f64, 0.0);
        for step in 0..12_000 {
            let now = f64::from(step) * STEP;
            turns.retain(|began| now - began < 1.0 + queue);
            due += STEP * 2000.0;
            while due >= 1.0 {
                due -= 1.0;
                if work.pressure.lets_in(turns.len()) {
                    turns.push_back(now);
                }
            }
            // What has given all of its work may still wait to have it done.
            let giving = turns.iter().filter(|began| now - **began < 1.0).count();
            let to_do = queue + STEP * giving as f64 / 1000.0;
            queue = (to_do - STEP).max(0.0);
            if now >= probe_runs {
                work.waits(Duration::from_secs_f64(probe_waits), 1, turns.len());
                (probe_waits, probe_runs) = (queue, now + STEP + queue);
            }
            if now > 10.0 {
                longest = longest.max(queue);
                busy += to_do.min(STEP);
            }
        }
        assert!(longest < 3.0 * MOST.as_secs_f64(), "waits for up to {longest} s");
        assert!(busy / 50.0 > 0.95, "busy for {busy} of 50 s");
    }

    #[test]
    fn nothing_is_too_much_where_it_is_switched_off() {
        let mut work = Watched::new(Duration::ZERO);
        assert_eq!(work.waits(Duration::from_secs(1), 5, 10_000), None);
        assert!(work.pressure.lets_in(10_000));
    }

    #[tokio::test]
    async fn what_holds_up_the_processor_is_seen() {
        let pressure = Pressure::new(MOST);
        let stands_still = async {
            while pressure.waited() < LONG {
                // Blocks, as work does that takes too long.
                thread::sleep(LONG + TICK);
                tokio::task::yield_now().await;
            }
        };
        let watching = tokio::time::timeout(Duration::from_secs(10), pressure.watch(|| FEW));
        tokio::select! {
            () = stands_still => {}
            ended = watching => panic!("never seen: {ended:?}"),
        }
    }
}
