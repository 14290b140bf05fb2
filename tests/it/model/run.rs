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
use super::store::{Mutant, Wiped};
use super::trace::Trace;
use super::world::World;

/// Nothing takes longer than this, whatever happens: more than the longest plan, a turn's deadline, and a takeover.
const BOUND: Duration = Duration::from_secs(600);

/// For how long an owner can restore a turn that has ended (a minute), as the model can tell.
const DOUBTED_FOR: Duration = Duration::from_secs(58);

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
    let turns = rng.random_range(1..=2);
    let (seen, ()) = tokio::join!(
        async {
            let seen = join_all((0..turns).map(|number| follow(world, number))).await;
            world.seen.cancel();
            seen
        },
        plan.unfold(Arc::clone(world)),
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
async fn cancel(world: &World, turn: TurnId, rng: &mut rand::rngs::SmallRng) {
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

/// What the clients of a turn are measured by: its log, or what it was when the store forgot everything and nobody had a
/// copy any more.
fn measure(world: &World, mode: Mode, turn: TurnId) -> Result<Option<LogPage>, String> {
    if let Some(page) = log(world, turn) {
        return Ok(Some(page));
    }
    let Some(Wiped { page, ended_for }) = world.store.wiped(turn) else {
        if mode == Mode::Anything {
            // Begun without the store, or lost by it, and its owner died before it could give it back.
            return Ok(None);
        }
        return Err(format!("{turn} is gone, and nobody has forgotten it"));
    };
    let must_be_back = match (&page.record.owner, ended_for) {
        (Some(owner), Some(ended_for)) => ended_for < DOUBTED_FOR && world.lives(owner),
        (_, ended_for) => ended_for.is_none(),
    };
    if must_be_back && mode == Mode::OneAtATime {
        return Err(format!("{turn} was forgotten {ended_for:?} after its end, and is not restored"));
    }
    Ok(ended_for.map(|_| page))
}

fn judge(world: &World, mode: Mode, told: &Told) -> Verdict {
    let Told { client, turn, seen } = told;
    let wrong = |what: String| format!("{client} of {turn}: {what}");
    let Some(page) = measure(world, mode, *turn)? else { return Ok(()) };
    let is_strict = mode == Mode::OneAtATime;
    if seen.gave_up {
        let is_gone = log(world, *turn).is_none();
        return if is_gone || !is_strict { Ok(()) } else { Err(wrong("it was told of no such turn".into())) };
    }
    if is_strict && seen.was_refused {
        return Err(wrong("it was told of no such event".into()));
    }
    in_order(&seen.events).map_err(wrong)?;
    let may_be_its_own = !is_strict || seen.met_a_stray;
    if seen.saw_an_end_taken_back && !may_be_its_own {
        return Err(wrong("the turn went on after its end".into()));
    }
    let end = seen.events.last().unwrap().id;
    if may_be_its_own && page.events.last().is_some_and(|last| last.id != end) {
        // The turn was answered twice, and this client saw the version that is not remembered.
        return Ok(());
    }
    if !is_strict && world.store.was_given_back(*turn) {
        // A client that was told of an epoch that is lost now is not told of what an older owner did then.
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
