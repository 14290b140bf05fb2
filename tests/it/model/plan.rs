//! What goes wrong in a run, and when.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::SmallRng;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::link::Trap;
use super::replica::Replica;
use super::world::{FLEET, World};

/// After a fault is over, this long until everything is as before: a lease and some beats, or two looks for ghosts.
const SETTLED: Duration = Duration::from_secs(16);

/// Standing still for so long, a writer does not even take its log for away.
const UNNOTICED: Duration = Duration::from_millis(2900);

/// How long a replica that was in trouble needs at most to hear that its turns are another's: the longest pause of a writer.
const CATCHING_UP: Duration = Duration::from_secs(3);

/// How much may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The next fault comes when the one before is healed: nothing may be lost.
    OneAtATime,
    /// Anything at any time: what is resumed is exact all the same.
    Anything,
}

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Ends a process at once; another one starts after a while.
    Kill { slot: usize, away: Duration },
    /// Stops a process, and continues it.
    Pause { slot: usize, still: Duration },
    /// Kills or stops whoever is about to write, or has just written.
    Trap { trap: Trap, away: Duration },
    /// A rolling update.
    Stop { slot: usize, grace: Duration },
    /// One replica alone cannot reach the store.
    CutOff { slot: usize, away: Duration },
    /// Nobody can reach the store.
    Outage { away: Duration },
    /// The store goes on from a copy.
    FailOver { behind: Duration, away: Duration },
    /// Kills a process, and when its turn was taken over the store forgets that.
    Retake { slot: usize, after: Duration, away: Duration },
    /// The store comes back without its data.
    Wipe { away: Duration },
    /// Calls fail, lose their answers or arrive late.
    Faulty { percent: u32, away: Duration },
}

fn seconds(rng: &mut SmallRng, most: u64) -> Duration {
    // Short ones are as interesting as long ones.
    let most = [most * 40, most * 1000][rng.random_range(0..2)];
    Duration::from_millis(rng.random_range(0..=most))
}

impl Fault {
    fn any(mode: Mode, rng: &mut SmallRng) -> Self {
        let slot = rng.random_range(0..FLEET);
        // A replica that is cut off for longer than the lease loses its turns to others, and what it shows then is its own.
        let cut_off = if mode == Mode::OneAtATime { 8 } else { 30 };
        let kinds = if mode == Mode::OneAtATime { 10 } else { 11 };
        match rng.random_range(0..kinds) {
            10 => Self::Retake { slot, after: seconds(rng, 3), away: seconds(rng, 1) },
            9 => Self::Wipe { away: seconds(rng, 5) },
            7 | 8 => {
                let (carried_out, kills) = (rng.random(), rng.random());
                let trap = Trap { writes: rng.random_range(0..12), carried_out, kills };
                Self::Trap { trap, away: seconds(rng, 20) }
            }
            0 => Self::Kill { slot, away: seconds(rng, 15) },
            1 => Self::Pause { slot, still: seconds(rng, 30) },
            2 => Self::Stop { slot, grace: seconds(rng, 5) },
            3 => Self::CutOff { slot, away: seconds(rng, cut_off) },
            4 => Self::Outage { away: seconds(rng, 30) },
            5 => Self::FailOver { behind: seconds(rng, 2), away: seconds(rng, 5) },
            _ => Self::Faulty { percent: rng.random_range(1..60), away: seconds(rng, 15) },
        }
    }

    /// How long it lasts.
    fn lasts(self) -> Duration {
        match self {
            Self::Kill { away, .. }
            | Self::CutOff { away, .. }
            | Self::Outage { away }
            | Self::Wipe { away }
            | Self::FailOver { away, .. }
            | Self::Faulty { away, .. } => away,
            Self::Trap { away, .. } => 2 * away,
            Self::Pause { still, .. } => still,
            Self::Stop { grace, .. } => grace + SETTLED,
            Self::Retake { after, away, .. } => SETTLED + after + away,
        }
    }

    async fn happen(self, world: &World) {
        match self {
            Self::Kill { slot, away } => {
                world.replica(slot).kill();
                sleep(away).await;
                world.replace(slot);
            }
            Self::Pause { slot, still } => {
                let replica = world.replica(slot);
                replica.link.process.stand_still();
                stay(&replica, still, || replica.link.process.go_on()).await;
            }
            Self::Trap { trap, away } => {
                world.weather.caught.send_replace(None);
                *world.weather.trap.lock().unwrap() = Some(trap);
                let mut caught = world.weather.caught.subscribe();
                let who = timeout(away, caught.wait_for(Option::is_some)).await;
                let who = who.ok().and_then(|caught| caught.unwrap().clone());
                *world.weather.trap.lock().unwrap() = None;
                let Some(slot) = who.and_then(|who| world.slot_of(&who)) else { return };
                let replica = world.replica(slot);
                if trap.kills {
                    replica.kill();
                }
                stay(&replica, away, || replica.link.process.go_on()).await;
                world.replace(slot);
            }
            Self::Stop { slot, grace } => {
                let replica = world.replica(slot);
                replica.stop(grace).await;
                world.replace(slot);
            }
            Self::CutOff { slot, away } => {
                let replica = world.replica(slot);
                replica.link.cut_off.fetch_add(1, Relaxed);
                let heal = || {
                    replica.link.cut_off.fetch_sub(1, Relaxed);
                    replica.link.is_back();
                };
                stay(&replica, away, heal).await;
            }
            Self::Outage { away } => {
                world.weather.outages.fetch_add(1, Relaxed);
                sleep(away).await;
                world.weather.outages.fetch_sub(1, Relaxed);
                world.store_is_back();
            }
            Self::FailOver { behind, away } => {
                world.weather.outages.fetch_add(1, Relaxed);
                let changes = world.fail_over(behind).await;
                world.trace.note(|| format!("the failover takes back {changes} changes"));
                sleep(away).await;
                world.weather.outages.fetch_sub(1, Relaxed);
                world.store_is_back();
            }
            Self::Retake { slot, after, away } => {
                world.replica(slot).kill();
                if timeout(SETTLED, world.store.next_takeover()).await.is_ok() {
                    sleep(after).await;
                    Box::pin(Self::FailOver { behind: after, away }.happen(world)).await;
                }
                world.replace(slot);
            }
            Self::Wipe { away } => {
                world.weather.outages.fetch_add(1, Relaxed);
                world.lose_everything();
                sleep(away).await;
                world.weather.outages.fetch_sub(1, Relaxed);
                world.store_is_back();
            }
            Self::Faulty { percent, away } => {
                world.weather.faulty.fetch_add(percent, Relaxed);
                sleep(away).await;
                world.weather.faulty.fetch_sub(percent, Relaxed);
            }
        }
    }
}

/// Leaves a replica in its trouble for a while, and then lets it hear what it missed.
async fn stay(replica: &Replica, long: Duration, heal: impl FnOnce()) {
    let link = &replica.link;
    link.strays.fetch_add(usize::from(long > UNNOTICED), Relaxed);
    sleep(long).await;
    heal();
    sleep(CATCHING_UP).await;
    link.strays.fetch_sub(usize::from(long > UNNOTICED), Relaxed);
}

/// Faults and when they begin.
#[derive(Clone, Debug)]
pub struct Plan {
    faults: Vec<(Duration, Fault)>,
    /// Whether faults still happen when all clients have seen the end.
    goes_on: bool,
}

impl Plan {
    pub fn new(mode: Mode, rng: &mut SmallRng) -> Self {
        let mut at = Duration::ZERO;
        let most = if mode == Mode::OneAtATime { 4 } else { 9 };
        let faults: Vec<_> = (0..rng.random_range(1..=most))
            .map(|_| {
                let fault = Fault::any(mode, rng);
                at += seconds(rng, 4);
                let begins = at;
                if mode == Mode::OneAtATime {
                    at += fault.lasts() + SETTLED;
                }
                (begins, fault)
            })
            .collect();
        Self { faults, goes_on: rng.random_bool(0.3) }
    }

    /// Lets everything happen, and returns when it is over.
    pub async fn unfold(self, world: Arc<World>) {
        let began = Instant::now();
        let all = self.faults.into_iter().map(|(at, fault)| {
            let world = Arc::clone(&world);
            async move {
                tokio::select! {
                    () = sleep_until(began + at) => {}
                    () = world.seen.cancelled(), if !self.goes_on => return,
                }
                world.trace.note(|| format!("=== {fault:?}"));
                fault.happen(&world).await;
                world.trace.note(|| format!("=== over: {fault:?}"));
            }
        });
        futures_util::future::join_all(all).await;
    }
}
