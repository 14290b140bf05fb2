//! The stop, phase by phase (`design.md` §8).

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::Shutdown;
use crate::config;

/// How long last words may take, and how long what was told to end now: either is quick or hopeless.
const HARD_LIMIT: Duration = Duration::from_secs(5);

/// How long a part that nobody waits for any more may take to put down what it is doing.
const PART_LIMIT: Duration = Duration::from_secs(1);

/// How long the phases may take.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// From "not ready" to "nothing new".
    pub drain_delay: Duration,
    /// From "nothing new" to "say your last word".
    pub grace: Duration,
}

impl From<&config::Server> for Timing {
    fn from(server: &config::Server) -> Self {
        Self { drain_delay: *server.drain_delay, grace: *server.grace }
    }
}

/// Leads a [`Shutdown`] through its signals. Each phase is logged with its duration (`shutdown_phase`), and each ends
/// as soon as its work is done: an idle process stops at once.
///
/// ```text
/// let stop = Sequence::asked(shutdown, (&config.server).into()).await;
/// stop.draining().await;
/// let closing = stop.closing();
/// join!(closing.until("turns", chat.idle()), closing.until("sockets", connections.stopped()));
/// closing.ending().await;
/// ```
#[derive(Debug)]
pub struct Sequence {
    shutdown: Shutdown,
    timing: Timing,
}

impl Sequence {
    /// Waits until somebody asks for the stop.
    pub async fn asked(shutdown: Shutdown, timing: Timing) -> Self {
        shutdown.asked().cancelled().await;
        Self { shutdown, timing }
    }

    /// Readiness is withdrawn, and everything goes on for `drain_delay`, until balancers have noticed.
    pub async fn draining(&self) {
        self.shutdown.draining().cancel();
        phase("draining", Duration::MAX, sleep(self.timing.drain_delay)).await;
    }

    /// Nothing new begins from here on; what runs has `grace` from now.
    pub fn closing(self) -> Closing {
        self.shutdown.draining().cancel();
        self.shutdown.closing().cancel();
        Closing { shutdown: self.shutdown, until: Instant::now() + self.timing.grace }
    }

    /// The whole way, for what needs nothing but the signals: true if everything ended by itself in time.
    pub async fn run(self) -> bool {
        self.draining().await;
        let closing = self.closing();
        let ended = closing.shutdown.clone();
        let in_time = closing.until("finishing", ended.ended()).await;
        closing.ending().await && in_time
    }
}

/// A stop during which running work may finish.
#[derive(Debug)]
pub struct Closing {
    shutdown: Shutdown,
    until: Instant,
}

impl Closing {
    /// Waits for `work`, a part of what must finish, but not beyond the grace that all parts share; true if it did.
    pub async fn until(&self, name: &'static str, work: impl Future<Output = ()>) -> bool {
        let began = Instant::now();
        let done = timeout_at(self.until, work).await.is_ok();
        log(name, began, done);
        done
    }

    /// What still runs says its last word, and what is left after that ends now; true if all of it did.
    pub async fn ending(self) -> bool {
        self.shutdown.overdue().cancel();
        let ended = phase("last_words", HARD_LIMIT, self.shutdown.ended()).await.is_some();
        self.shutdown.hard().cancel();
        ended || phase("ending", HARD_LIMIT, self.shutdown.ended()).await.is_some()
    }
}

/// Stops a part with signals of its own that works on until everything else has ended: what it is doing may finish, if
/// that is quick.
pub async fn end_part(name: &'static str, part: &Shutdown) {
    part.draining().cancel();
    part.closing().cancel();
    if phase(name, PART_LIMIT, part.ended()).await.is_none() {
        part.hard().cancel();
    }
}

/// Does one step of a stop, for at most `limit`, and logs how long it took.
pub async fn phase<T>(name: &'static str, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let began = Instant::now();
    let done = timeout(limit, work).await.ok();
    log(name, began, done.is_some());
    done
}

fn log(name: &'static str, began: Instant, done: bool) {
    let duration_ms = began.elapsed().as_millis() as u64;
    if done {
        tracing::info!(
            event = "shutdown_phase",
            phase = name,
            duration_ms,
            done,
            "a phase of the stop has ended"
        );
    } else {
        tracing::warn!(
            event = "shutdown_phase",
            phase = name,
            duration_ms,
            done,
            "a phase of the stop was cut off"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing { drain_delay: Duration::from_secs(3), grace: Duration::from_secs(60) };

    #[tokio::test(start_paused = true)]
    async fn an_idle_process_stops_at_once() {
        let shutdown = Shutdown::new();
        shutdown.ask();
        let began = Instant::now();
        let timing = Timing { drain_delay: Duration::ZERO, ..TIMING };
        assert!(Sequence::asked(shutdown.clone(), timing).await.run().await);
        assert!(began.elapsed() < Duration::from_millis(10));
        assert!(shutdown.hard().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn running_work_may_finish_within_the_grace() {
        let shutdown = Shutdown::new();
        let closing = shutdown.closing().clone();
        shutdown.spawn(async move {
            closing.cancelled().await;
            sleep(Duration::from_secs(50)).await;
        });
        shutdown.ask();
        let began = Instant::now();
        assert!(Sequence::asked(shutdown, TIMING).await.run().await);
        assert_eq!(began.elapsed().as_secs(), 53);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_does_not_finish_says_its_last_word_after_the_grace() {
        let shutdown = Shutdown::new();
        let (overdue, hard) = (shutdown.overdue().clone(), shutdown.hard().clone());
        shutdown.spawn(async move {
            overdue.cancelled().await;
            sleep(Duration::from_secs(1)).await;
            assert!(!hard.is_cancelled());
        });
        shutdown.ask();
        let began = Instant::now();
        assert!(!Sequence::asked(shutdown, TIMING).await.run().await);
        assert_eq!(began.elapsed().as_secs(), 64);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_does_not_come_to_its_last_word_is_told_to_end() {
        let shutdown = Shutdown::new();
        let hard = shutdown.hard().clone();
        shutdown.spawn(async move { hard.cancelled().await });
        shutdown.ask();
        let began = Instant::now();
        assert!(!Sequence::asked(shutdown, TIMING).await.run().await);
        assert_eq!(began.elapsed().as_secs(), 68);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_does_not_even_end_then_cannot_hold_the_process() {
        let shutdown = Shutdown::new();
        shutdown.spawn(std::future::pending());
        shutdown.ask();
        let began = Instant::now();
        assert!(!Sequence::asked(shutdown, TIMING).await.run().await);
        assert_eq!(began.elapsed().as_secs(), 73);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_of_its_own_ends_when_it_is_done_or_is_cut_off() {
        let (quick, stuck) = (Shutdown::new(), Shutdown::new());
        let closing = quick.closing().clone();
        quick.spawn(async move { closing.cancelled().await });
        stuck.spawn(std::future::pending());
        let began = Instant::now();
        end_part("quick", &quick).await;
        assert!(began.elapsed() < PART_LIMIT && !quick.hard().is_cancelled());
        end_part("stuck", &stuck).await;
        assert!(began.elapsed() < PART_LIMIT * 2 && stuck.hard().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn all_parts_of_what_must_finish_share_one_grace() {
        let shutdown = Shutdown::new();
        shutdown.ask();
        let closing = Sequence::asked(shutdown, TIMING).await.closing();
        let began = Instant::now();
        assert!(closing.until("sockets", sleep(Duration::from_secs(40))).await);
        assert!(!closing.until("turns", sleep(Duration::from_secs(40))).await);
        assert_eq!(began.elapsed().as_secs(), 60);
    }

    #[test]
    fn asking_twice_abandons_the_stop() {
        let shutdown = Shutdown::new();
        shutdown.ask();
        assert!(!shutdown.abandoned().is_cancelled());
        shutdown.ask();
        assert!(shutdown.abandoned().is_cancelled());
    }
}
