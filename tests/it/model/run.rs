//! One run: a fleet, a turn or two, clients, faults, and the verdict.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use polylogue::turnlog::LogPage;
use polylogue::words::{CancelReason, Event, EventId, TurnId};
use rand::Rng as _;
use tokio::time::timeout;

use super::check::{Verdict, in_order, nothing_lost, nothing_missed, same_view};
use super::client::{Client, Seen};
use super::plan::{Mode, Plan};
use super::store::{Mutant, Spared};
use super::trace::Trace;
use super::world::World;

/// Nothing takes longer than this, whatever happens: more than the longest plan, a turn's deadline, and a takeover.
const BOUND: Duration = Duration::from_secs(600);

/// What is wrong, and the run's trace.
#[derive(Debug)]
pub struct Failure {
    pub why: String,
    pub story: String,
}

/// Plays one seed from its beginning to its end.
pub fn run(seed: u64, mode: Mode, mutant: Mutant, trace: impl FnOnce() -> Trace) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let trace = trace();
        let world = World::new(seed, mutant, trace.clone());
        let verdict = timeout(BOUND, play(&world, mode)).await;
        let verdict = verdict.unwrap_or_else(|_| Err("the run does not come to an end".into()));
        verdict.map_err(|why| Failure { why, story: trace.told() })
    })
}

async fn play(world: &Arc<World>, mode: Mode) -> Verdict {
    let mut rng = world.rng(0);
    let plan = Plan::new(mode, &mut rng);
    let spared = Spared { births: true, ends: true };
    let turns = rng.random_range(1..=2);
    let (seen, ()) = tokio::join!(
        join_all((0..turns).map(|number| follow(world, number))),
        plan.unfold(Arc::clone(world), spared),
    );
    quiet(world).await?;
    for seen in seen.into_iter().flatten() {
        judge(world, mode, &seen)?;
    }
    for turn in world.store.turns() {
        let page = log(world, turn).ok_or("a turn is gone")?;
        in_order(&page.events).map_err(|wrong| format!("the log of {turn}: {wrong}"))?;
        come_late(world, turn, &page.events).await?;
    }
    Ok(())
}

/// A client, its turn, and what it saw.
struct Told {
    client: String,
    turn: TurnId,
    seen: Seen,
}

/// One turn, and the clients that follow it.
async fn follow(world: &Arc<World>, number: u64) -> Vec<Told> {
    let mut rng = world.rng(10 + number);
    tokio::time::sleep(Duration::from_millis(rng.random_range(0..5000))).await;
    let turn = world.begin(&format!("c{number}"), &mut rng).await;
    world.trace.note(|| format!("{turn} begins"));
    if rng.random_bool(0.1) {
        let (world, mut rng) = (Arc::clone(world), world.rng(20 + number));
        world.clone().tasks.spawn(async move { cancel(&world, turn, &mut rng).await });
    }
    let clients = (0..rng.random_range(2..=5)).map(|client| {
        let name = format!("client {number}.{client}");
        let rng = world.rng(100 + number * 10 + client);
        let client = Client { name: name.clone(), turn, rng, seen: Seen::default() };
        async move { Told { client: name, turn, seen: client.follow(world).await } }
    });
    join_all(clients).await
}

/// Somebody asks for the turn's end, anywhere, once.
async fn cancel(world: &World, turn: TurnId, rng: &mut rand::rngs::StdRng) {
    tokio::time::sleep(Duration::from_millis(rng.random_range(0..20_000))).await;
    let Some(replica) = world.any_replica(rng) else { return };
    let reason = CancelReason::Requested;
    let asked = replica.link.process.within(async {
        use polylogue::turnlog::TurnLog as _;
        if replica.link.cancel(turn, reason).await.is_ok()
            && let Some(live) = replica.live.get(turn)
        {
            live.cancel(reason);
        }
    });
    asked.await;
}

fn log(world: &World, turn: TurnId) -> Option<LogPage> {
    world.store.read(turn, EventId::START, usize::MAX)
}

/// Waits until the store has the end of every turn, also of those nobody follows.
async fn quiet(world: &World) -> Verdict {
    let runs = |turn: &TurnId| log(world, *turn).is_some_and(|page| !page.record.status.is_terminal());
    let ended = timeout(BOUND / 2, async {
        while world.store.turns().iter().any(runs) {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    let turns = || world.store.turns().into_iter().filter(runs).collect::<Vec<_>>();
    ended.await.map_err(|_| format!("these turns run for ever: {:?}", turns()))?;
    // Late answers and late writes.
    tokio::time::sleep(Duration::from_secs(15)).await;
    Ok(())
}

fn judge(world: &World, mode: Mode, told: &Told) -> Verdict {
    let Told { client, turn, seen } = told;
    let wrong = |what: String| format!("{client} of {turn}: {what}");
    let page = log(world, *turn).ok_or_else(|| wrong("the turn is gone".into()))?;
    in_order(&seen.events).map_err(wrong)?;
    let is_strict = mode == Mode::OneAtATime;
    if is_strict && (seen.was_refused || seen.gave_up) {
        return Err(wrong("it was told that there is no such turn or event".into()));
    }
    let may_be_its_own = !is_strict || seen.met_a_stray;
    let end = seen.events.last().unwrap().id;
    if may_be_its_own && page.events.last().is_some_and(|last| last.id != end) {
        // The turn was answered twice, and this client saw the version that is not remembered.
        return Ok(());
    }
    same_view(&seen.events, &page.events).map_err(wrong)?;
    if is_strict {
        nothing_missed(&seen.events, &page.events).map_err(wrong)?;
    }
    if !may_be_its_own {
        let is_lost = |event| world.store.has_lost(*turn, event);
        nothing_lost(&seen.events, &page.events, is_lost).map_err(wrong)?;
    }
    Ok(())
}

/// Whoever comes after the end, anywhere and at any place, gets exactly what follows.
async fn come_late(world: &World, turn: TurnId, log: &[Arc<Event>]) -> Verdict {
    let mut rng = world.rng(30);
    for replica in world.all().iter().filter(|replica| replica.is_open()) {
        let place = rng.random_range(0..log.len());
        let opened = replica.live.open(turn, Some(log[place].id)).await;
        let mut seen = Vec::new();
        if let Some(mut reader) = opened.map_err(|error| format!("too late for {turn}: {error}"))? {
            while let Some(event) = reader.next().await.map_err(|error| error.to_string())? {
                seen.push(event);
            }
        }
        if seen != log[place + 1..] {
            return Err(format!("after {} of {turn} comes {seen:?}", log[place].id));
        }
    }
    Ok(())
}
