//! What an owner sees and shows while all goes well, or is told that the turn is not its own any more.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use polylogue::turnlog::{Finished, Flushed, Loss, PushError, TurnLog};
use polylogue::words::{CancelReason, EventId, TurnStatus};
use tokio::time::{Instant, timeout};

use super::flaky::{FlakyLog, Mood};
use super::stage::*;

/// What a reader has at once, without waiting.
fn at_once(reader: &mut polylogue::turnlog::Reader) -> Option<EventId> {
    reader.next().now_or_never().map(|event| event.unwrap().unwrap().id)
}

#[tokio::test(start_paused = true)]
async fn a_delta_is_shown_at_once_and_everything_else_when_it_is_written() {
    let flaky = FlakyLog::new([]);
    let log: Arc<dyn TurnLog> = flaky.clone();
    let a = Replica::new("a", &log);
    let (live, _) = a.start("c").await;
    let mut reader = a.open(live.turn(), id(1, 1)).await;
    flaky.is(Mood::Held);

    live.push(delta("ada", "one")).unwrap();
    assert_eq!(at_once(&mut reader), Some(id(1, 2)));
    live.push(completed("ada", "one")).unwrap();
    live.push(delta("bob", "after something that is not written")).unwrap();
    assert_eq!(at_once(&mut reader), None);
    assert_eq!(live.flush().now_or_never(), None);

    flaky.is(Mood::Well);
    assert_eq!(live.flush().await, Flushed::Durable);
    assert_eq!(at_once(&mut reader), Some(id(1, 3)));
    assert_eq!(at_once(&mut reader), Some(id(1, 4)));
}

#[tokio::test(start_paused = true)]
async fn deltas_are_collected_and_a_slow_log_gets_fewer_and_larger_writes() {
    let flaky = FlakyLog::new([]);
    let log: Arc<dyn TurnLog> = flaky.clone();
    let a = Replica::new("a", &log);
    let (live, _) = a.start("c").await;

    // One token every millisecond, for half a second: 40 writes a second, and never one event each.
    for n in 0..500 {
        live.push(delta("ada", &n.to_string())).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    live.flush().await;
    let writes = std::mem::take(&mut *flaky.writes.lock().unwrap());
    assert!((10..=21).contains(&writes.len()), "{writes:?}");

    flaky.is(Mood::Held);
    live.push(started("bob")).unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    for n in 0..300 {
        live.push(delta("bob", &n.to_string())).unwrap();
    }
    flaky.is(Mood::Well);
    live.flush().await;
    assert_eq!(*flaky.writes.lock().unwrap(), [1, 256, 44]);
}

#[tokio::test(start_paused = true)]
async fn a_local_and_a_remote_reader_see_the_same_events() {
    let log = shared_log();
    let (a, b) = (Replica::new("a", &log), Replica::new("b", &log));
    let (live, _) = a.start("c").await;
    let here = rest(a.open(live.turn(), EventId::START).await);
    let there = rest(b.open(live.turn(), EventId::START).await);
    let run = async {
        for body in [routed(&["ada"]), started("ada"), delta("ada", "Yes"), delta("ada", ".")] {
            live.push(body).unwrap();
            tokio::time::sleep(Duration::from_millis(7)).await;
        }
        live.push(completed("ada", "Yes.")).unwrap();
        live.finish(ended()).await
    };

    let (here, there, finished) = tokio::join!(here, there, run);

    assert_eq!(finished, Finished::Durable);
    assert_eq!(here, there);
    assert_eq!(here, whole(log.as_ref(), live.turn()).await.events);
    let turn = view(log.as_ref(), live.turn()).await;
    assert_eq!((turn.status, turn.replies[0].content.as_str()), (TurnStatus::Completed, "Yes."));
    assert_eq!((turn.message.content.as_str(), turn.metadata["ui"].as_str()), ("was Troy real?", "web"));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_slows_nobody() {
    let log = shared_log();
    let a = Replica::new("a", &log);
    let (live, _) = a.start("c").await;
    let slow = a.open(live.turn(), EventId::START).await;
    for n in 0..10_000 {
        live.push(delta("ada", &n.to_string())).unwrap();
    }
    assert_eq!(live.finish(ended()).await, Finished::Durable);
    assert_eq!(rest(slow).await.len(), 10_002);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_from_elsewhere_reaches_a_silent_owner_within_a_second() {
    let log = shared_log();
    let a = Replica::new("a", &log);
    let (live, cancel) = a.start("c").await;
    tokio::time::sleep(Duration::from_secs(5)).await;

    log.cancel(live.turn(), CancelReason::Deleted).await.unwrap();

    timeout(Duration::from_millis(1001), cancel.cancelled()).await.unwrap();
    assert_eq!((live.cancel_reason(), live.loss()), (Some(CancelReason::Deleted), None));
    live.cancel(CancelReason::Requested);
    assert_eq!(live.cancel_reason(), Some(CancelReason::Deleted));
    live.push(delta("ada", "what was said is still written")).unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_lost_its_turn_stops_and_its_readers_follow_the_new_one() {
    let log = shared_log();
    let (a, b) = (Replica::new("a", &log), Replica::new("b", &log));
    let (old, cancel) = a.start("c").await;
    old.push(routed(&["ada"])).unwrap();
    old.flush().await;
    let mut reader = a.open(old.turn(), id(1, 2)).await;

    let (new, page) = b.take_over(old.turn(), 1).await;
    let _ = old.push(started("ada"));

    assert_eq!(old.flush().await, Flushed::Lost(Loss::Fenced));
    assert!(cancel.is_cancelled());
    assert_eq!(old.push(delta("ada", "late")), Err(PushError::Over));
    assert_eq!(old.finish(ended()).await, Finished::Lost(Loss::Fenced));
    assert_eq!(next(&mut reader).await.as_ref(), page.events.last());
    new.push(completed("ada", "Yes.")).unwrap();
    new.finish(ended()).await;
    assert_eq!(rest(reader).await.len(), 2);
    assert_eq!(a.metrics.turn_log.appends.get(&(polylogue::telemetry::metrics::AppendOutcome::Fenced,)), 1);
}

#[tokio::test(start_paused = true)]
async fn a_planned_stop_writes_what_was_said_and_frees_the_turn() {
    let log = shared_log();
    let (a, b) = (Replica::new("a", &log), Replica::new("b", &log));
    let (old, _) = a.start("c").await;
    old.push(delta("ada", "said before the stop")).unwrap();

    assert_eq!(old.release().await, Finished::Lost(Loss::Released));

    assert_eq!(log.owned(None).await.unwrap(), [(old.turn(), 1)]);
    let (_, page) = b.take_over(old.turn(), 1).await;
    assert_eq!(page.events[1].id, id(1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_full_turn_still_has_room_for_its_end() {
    let log = shared_log();
    let small = polylogue::config::Turns { max_bytes: polylogue::config::Bytes(256 * 1024), ..settings() };
    let a = Replica::with("a", &log, small.clone());
    let (live, _) = a.start("c").await;
    live.push(routed(&["ada"])).unwrap();
    let mut said = String::new();
    for piece in ["x".repeat(1000), "y".to_owned()] {
        while live.push(delta("ada", &piece)).is_ok() {
            said.push_str(&piece);
        }
    }
    assert!(matches!(live.push(started("bob")), Err(PushError::Full(_))));
    live.push(failed("bob")).unwrap();
    live.push(completed("ada", &said)).unwrap();
    assert_eq!(live.finish(ended()).await, Finished::Durable);

    let bytes: usize = whole(log.as_ref(), live.turn()).await.events.iter().map(|event| event.size()).sum();
    assert!((small.max_bytes.0 / 2..=small.max_bytes.0).contains(&bytes), "{bytes}");
    assert!(said.len() > 80_000, "{}", said.len());
}

#[tokio::test(start_paused = true)]
async fn a_replica_runs_no_more_turns_than_it_may() {
    let log = shared_log();
    let one = polylogue::config::Turns { max_concurrent: 1.try_into().unwrap(), ..settings() };
    let a = Replica::with("a", &log, one);
    let (live, _) = a.start("c").await;
    assert!(a.turns.try_reserve().is_err());

    live.finish(ended()).await;

    assert!(a.turns.try_reserve().is_ok());
    tokio::task::yield_now().await;
    assert_eq!(a.turns.all().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_turn_whose_end_is_not_written_has_no_place_and_is_still_there() {
    let flaky = FlakyLog::new([]);
    let log: Arc<dyn TurnLog> = flaky.clone();
    let a = Replica::new("a", &log);
    let (live, _) = a.start("c").await;
    flaky.is(Mood::Down);

    assert_eq!(live.finish(ended()).await, Finished::Unconfirmed);
    a.turns.idle().await;
    let soon = Duration::from_secs(30);
    assert!(timeout(soon, a.turns.written()).await.is_err(), "its replica must not say goodbye yet");

    flaky.is(Mood::Well);
    timeout(soon, a.turns.written()).await.unwrap();
    assert_eq!(view(log.as_ref(), live.turn()).await.status, TurnStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_turn_notices_when_its_last_reader_leaves_by_itself() {
    let log = shared_log();
    let a = Replica::new("a", &log);
    let (live, _) = a.start("c").await;
    let long = Duration::from_secs(5);
    let is_left = async || timeout(long * 2, live.abandoned_for(long)).await.is_ok();
    assert!(!is_left().await, "nobody has come yet");

    let one = a.open(live.turn(), EventId::START).await;
    let two = a.open(live.turn(), EventId::START).await;
    assert_eq!(live.readers(), 2);
    drop(one);
    assert!(!is_left().await, "one is still here");
    two.dismiss();
    assert_eq!((live.readers(), is_left().await), (0, false), "sent away");

    drop(a.open(live.turn(), EventId::START).await);
    assert!(is_left().await);
}

#[tokio::test(start_paused = true)]
async fn a_turn_is_alone_only_when_nobody_came_for_a_while() {
    let log = shared_log();
    let a = Replica::new("a", &log);
    let (live, _) = a.start("c").await;
    drop(a.open(live.turn(), EventId::START).await);
    let began = Instant::now();
    let visit = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        drop(a.open(live.turn(), EventId::START).await);
    };

    tokio::join!(live.abandoned_for(Duration::from_secs(5)), visit);

    assert_eq!(began.elapsed().as_secs(), 8);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_stood_still_shows_nothing_unwritten_before_it_knows_whose_the_turn_is() {
    let flaky = FlakyLog::new([]);
    let log: Arc<dyn TurnLog> = flaky.clone();
    let a = Replica::new("a", &log);
    let (live, _) = a.start("c").await;
    let mut reader = a.open(live.turn(), id(1, 1)).await;
    flaky.is(Mood::Held);
    live.push(completed("ada", "said by the old owner alone")).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;

    // The replica stands still, and another takes the turn over. The write that was in flight has run out of time since.
    take_over(log.as_ref(), live.turn(), 1, "b").await;
    tokio::time::advance(Duration::from_secs(15)).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(at_once(&mut reader), None);

    flaky.is(Mood::Well);
    assert_eq!(live.flush().await, Flushed::Lost(Loss::Fenced));
    assert_eq!(at_once(&mut reader), None);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_written_is_shown_when_the_log_fails_again_after_a_standstill() {
    let flaky = FlakyLog::new([]);
    let log: Arc<dyn TurnLog> = flaky.clone();
    let a = Replica::new("a", &log);
    let (live, _) = a.start("c").await;
    let mut reader = a.open(live.turn(), id(1, 1)).await;
    flaky.is(Mood::Held);
    live.push(completed("ada", "said")).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    tokio::time::advance(Duration::from_secs(15)).await;
    flaky.is(Mood::Down);

    let shown = timeout(Duration::from_secs(1), reader.next()).await.unwrap();
    assert_eq!(shown.unwrap().unwrap().id, id(1, 2));
}
