//! What goes wrong in a run, and when.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::link::Trap;
use super::replica::Replica;
use super::store::Spared;
use super::world::{FLEET, World};

/// After a fault is over, this long until everything is as before: a lease, a beat, and the longest pause of a writer.
const SETTLED: Duration = Duration::from_secs(14);

/// Standing still for so long, a writer does not even take its log for away.
const UNNOTICED: Duration = Duration::from_millis(2900);

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
    /// Calls fail, lose their answers or arrive late.
    Faulty { percent: u32, away: Duration },
}

fn seconds(rng: &mut StdRng, most: u64) -> Duration {
    // Short ones are as interesting as long ones.
    let most = [most * 40, most * 1000][rng.random_range(0..2)];
    Duration::from_millis(rng.random_range(0..=most))
}

impl Fault {
    fn any(mode: Mode, rng: &mut StdRng) -> Self {
        let slot = rng.random_range(0..FLEET);
        // A replica that is cut off for longer than the lease loses its turns to others, and what it shows then is its own.
        let cut_off = if mode == Mode::OneAtATime { 8 } else { 30 };
        match rng.random_range(0..9) {
            7.. => {
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
            | Self::FailOver { away, .. }
            | Self::Faulty { away, .. } => away,
            Self::Trap { away, .. } => 2 * away,
            Self::Pause { still, .. } => still,
            Self::Stop { grace, .. } => grace + SETTLED,
        }
    }

    async fn happen(self, world: &World, spared: Spared) {
        match self {
            Self::Kill { slot, away } => {
                world.replica(slot).kill();
                sleep(away).await;
                world.replace(slot);
            }
            Self::Pause { slot, still } => {
                let replica = world.replica(slot);
                replica.link.process.stand_still();
                stay(&replica, still).await;
                replica.link.process.go_on();
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
                stay(&replica, away).await;
                replica.link.process.go_on();
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
                stay(&replica, away).await;
                replica.link.cut_off.fetch_sub(1, Relaxed);
            }
            Self::Outage { away } => {
                world.weather.outages.fetch_add(1, Relaxed);
                sleep(away).await;
                world.weather.outages.fetch_sub(1, Relaxed);
            }
            Self::FailOver { behind, away } => {
                world.weather.outages.fetch_add(1, Relaxed);
                let changes = world.store.fail_over(behind, spared);
                world.trace.note(|| format!("the failover takes back {changes} changes"));
                sleep(away).await;
                world.weather.outages.fetch_sub(1, Relaxed);
            }
            Self::Faulty { percent, away } => {
                world.weather.faulty.fetch_add(percent, Relaxed);
                sleep(away).await;
                world.weather.faulty.fetch_sub(percent, Relaxed);
            }
        }
    }
}

/// Leaves a replica in its trouble for a while.
async fn stay(replica: &Replica, long: Duration) {
    replica.link.stray.fetch_or(long > UNNOTICED, Relaxed);
    sleep(long).await;
}

/// Faults and when they begin.
#[derive(Clone, Debug)]
pub struct Plan(Vec<(Duration, Fault)>);

impl Plan {
    pub fn new(mode: Mode, rng: &mut StdRng) -> Self {
        let mut at = Duration::ZERO;
        let most = if mode == Mode::OneAtATime { 4 } else { 9 };
        let faults = (0..rng.random_range(1..=most)).map(|_| {
            let fault = Fault::any(mode, rng);
            at += seconds(rng, 4);
            let begins = at;
            if mode == Mode::OneAtATime {
                at += fault.lasts() + SETTLED;
            }
            (begins, fault)
        });
        Self(faults.collect())
    }

    /// Lets everything happen, and returns when it is over.
    pub async fn unfold(self, world: Arc<World>, spared: Spared) {
        let began = Instant::now();
        let all = self.0.into_iter().map(|(at, fault)| {
            let world = Arc::clone(&world);
            async move {
                sleep_until(began + at).await;
                world.trace.note(|| format!("=== {fault:?}"));
                fault.happen(&world, spared).await;
                world.trace.note(|| format!("=== over: {fault:?}"));
            }
        });
        futures_util::future::join_all(all).await;
    }
}
