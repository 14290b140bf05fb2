//! Who asks when. A closed loop: each user waits for an answer before asking again. An open loop: turns are due at their
//! times whatever the answers do, and all times are counted from then (no coordinated omission).

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::arrivals::Arrivals;
use crate::fault::{Fault, TIMEOUT};
use crate::measure::Measures;
use crate::outcome::{Kind, Outcome};

/// What users do.
pub trait Work: Send + Sync + 'static {
    /// Who asks: its connections and its conversation.
    type User: Send + 'static;

    /// Makes a user; the number is its own.
    fn user(&self, number: usize) -> Self::User;

    /// How its next turn goes.
    fn kind(&self, user: &mut Self::User) -> Kind;

    /// Keeps a user's connections while it thinks; never ends.
    fn rest(&self, user: &mut Self::User) -> impl Future<Output = ()> + Send;

    /// Asks once.
    fn once(&self, user: &mut Self::User, kind: Kind) -> impl Future<Output = Outcome> + Send;
}

/// When users ask.
#[derive(Clone, Debug)]
pub enum Pace {
    /// So many users, each with this pause between an answer and its next question.
    Closed {
        /// How many.
        users: usize,
        /// The pause.
        think_time: Duration,
    },
    /// At these times.
    Open {
        /// The times.
        arrivals: Arrivals,
        /// So many may wait for a place; more are counted and dropped.
        max_waiting: usize,
        /// So many may be asked for at once.
        max_in_flight: usize,
    },
}

/// A run: what is asked, when, and for how long.
pub struct Run<W> {
    work: Arc<W>,
    measures: Arc<Measures>,
    turn_timeout: Duration,
    settle: Duration,
    stop: CancellationToken,
    abandon: CancellationToken,
    in_flight: AtomicUsize,
    pending: AtomicU64,
}

/// Users of an open loop that ask nothing just now; the newest first, so that no more connections are made than needed.
type IdleUsers<U> = Mutex<Vec<(usize, U)>>;

/// Pause of a user in a closed loop whose turn was refused or failed: it must not become a denial of service.
const PAUSE_AFTER_FAULT: Duration = Duration::from_millis(20);

impl<W: Work> Run<W> {
    /// A run of `work`. A turn is given up after `turn_timeout`; what still runs at the end, `settle` later.
    pub fn new(work: W, measures: Arc<Measures>, turn_timeout: Duration, settle: Duration) -> Arc<Self> {
        Arc::new(Self {
            work: Arc::new(work),
            measures,
            turn_timeout,
            settle,
            stop: CancellationToken::new(),
            abandon: CancellationToken::new(),
            in_flight: AtomicUsize::new(0),
            pending: AtomicU64::new(0),
        })
    }

    /// Turns that are being answered.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Asks nothing more; what runs may settle. A second time: nothing is waited for.
    pub fn stop(&self) {
        if self.stop.is_cancelled() {
            self.abandon.cancel();
        }
        self.measures.end_now();
        self.stop.cancel();
    }

    /// Runs to the end.
    pub async fn run(self: Arc<Self>, pace: Pace) {
        let mut tasks = JoinSet::new();
        {
            let mut asking = pin!(async {
                match pace {
                    Pace::Closed { users, think_time } => self.closed(users, think_time, &mut tasks).await,
                    Pace::Open { arrivals, max_waiting, max_in_flight } => {
                        self.open(arrivals, max_waiting, max_in_flight, &mut tasks).await;
                    }
                }
            });
            tokio::select! {
                () = &mut asking => {}
                () = self.settled() => {}
            }
        }
        tokio::select! {
            () = async { while tasks.join_next().await.is_some() {} } => {}
            () = self.settled() => {}
        }
        self.measures.end_now();
        self.measures.unfinished(self.pending.load(Ordering::Relaxed));
        tasks.abort_all();
    }

    /// When nothing is waited for any more.
    async fn settled(&self) {
        let over = async {
            self.over().await;
            sleep(self.settle).await;
        };
        tokio::select! {
            () = over => {}
            () = self.abandon.cancelled() => {}
        }
    }

    /// When nothing more is asked.
    async fn over(&self) {
        tokio::select! {
            () = sleep_until(self.measures.window().to.into()) => {}
            () = self.stop.cancelled() => {}
        }
    }

    fn is_over(&self) -> bool {
        self.stop.is_cancelled() || Instant::now() >= self.measures.window().to
    }

    async fn closed(self: &Arc<Self>, users: usize, think_time: Duration, tasks: &mut JoinSet<()>) {
        // Half of the warm-up to begin in: thousands of connections at once are a test of backlogs.
        let window = self.measures.window();
        let step = (window.from - window.start) / 2 / u32::try_from(users.max(1)).unwrap_or(u32::MAX);
        for number in 0..users {
            let run = self.clone();
            let begin = window.start + step * u32::try_from(number).unwrap_or(u32::MAX);
            tasks.spawn(async move {
                sleep_until(begin.into()).await;
                run.converse(number, think_time).await;
            });
        }
        self.over().await;
    }

    async fn converse(&self, number: usize, think_time: Duration) {
        let mut user = self.work.user(number);
        while !self.is_over() {
            self.pending.fetch_add(1, Ordering::Relaxed);
            let is_well = self.turn(&mut user, number, Instant::now()).await;
            let pause = if is_well { think_time } else { think_time.max(PAUSE_AFTER_FAULT) };
            if !pause.is_zero() {
                tokio::select! {
                    () = sleep(pause) => {}
                    () = self.over() => {}
                    () = self.work.rest(&mut user) => {}
                }
            }
        }
    }

    async fn open(
        self: &Arc<Self>,
        arrivals: Arrivals,
        max_waiting: usize,
        max_in_flight: usize,
        tasks: &mut JoinSet<()>,
    ) {
        let (sender, mut due_times) = mpsc::channel(max_waiting.max(1));
        let dispatcher = {
            let run = self.clone();
            std::thread::spawn(move || run.dispatch(arrivals, &sender))
        };
        let places = Arc::new(Semaphore::new(max_in_flight));
        let idle: Arc<IdleUsers<W::User>> = Arc::default();
        let mut made = 0;
        while let Some(due) = due_times.recv().await {
            let Ok(place) = places.clone().acquire_owned().await else { break };
            let (number, mut user) =
                idle.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_else(|| {
                    made += 1;
                    (made, self.work.user(made))
                });
            let (run, idle) = (self.clone(), idle.clone());
            tasks.spawn(async move {
                run.turn(&mut user, number, due).await;
                idle.lock().unwrap_or_else(PoisonError::into_inner).push((number, user));
                drop(place);
            });
            while tasks.try_join_next().is_some() {}
        }
        // The thread ends with the window; it has closed the channel.
        drop(dispatcher.join());
    }

    /// Says when turns are due, on a thread of its own: the runtime's timers are good to a millisecond only.
    fn dispatch(&self, mut arrivals: Arrivals, sender: &mpsc::Sender<Instant>) {
        const LONGEST_SLEEP: Duration = Duration::from_millis(50);
        let mut due = self.measures.window().start + arrivals.next_gap();
        // By when turns are due, not by the clock: when this thread is late, those due before the end are asked yet.
        while due < self.measures.window().to {
            let wait = due.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                std::thread::sleep(wait.min(LONGEST_SLEEP));
                continue;
            }
            self.pending.fetch_add(1, Ordering::Relaxed);
            if sender.try_send(due).is_err() {
                self.pending.fetch_sub(1, Ordering::Relaxed);
                self.measures.not_asked(due);
            }
            due += arrivals.next_gap();
        }
    }

    /// One turn; whether it was completed.
    async fn turn(&self, user: &mut W::User, number: usize, due: Instant) -> bool {
        let asked = Instant::now();
        let kind = self.work.kind(user);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let outcome = match timeout(self.turn_timeout, self.work.once(user, kind)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                // Its connections are in the middle of something.
                *user = self.work.user(number);
                failed(kind, TIMEOUT)
            }
        };
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.pending.fetch_sub(1, Ordering::Relaxed);
        self.measures.record(due, asked, &outcome);
        outcome.result.is_ok()
    }
}

fn failed(kind: Kind, fault: Fault) -> Outcome {
    Outcome { result: Err(fault), ..Outcome::new(kind) }
}
