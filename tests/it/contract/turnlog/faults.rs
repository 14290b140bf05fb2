//! Whatever happens to a write: nothing is lost, nothing is doubled.

use std::sync::Arc;
use std::time::Duration;

use polylogue::turnlog::{Finished, Flushed, Loss, ReadError, TurnLog};
use polylogue::words::{Event, EventBody, EventId, TurnStatus};
use proptest::prelude::*;

use super::flaky::{Fault, FlakyLog, Mood};
use super::stage::*;

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![Just(Fault::None), Just(Fault::Before), Just(Fault::AnswerLost), Just(Fault::TailLost)]
}

fn bodies(events: &[Arc<Event>]) -> Vec<EventBody> {
    events.iter().map(|event| event.body.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_log_that_fails_forgets_and_loses_answers_has_every_event_once(
        faults in prop::collection::vec(fault(), 0..24),
        pauses in prop::collection::vec(0_u64..60, 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(a_log_heals(faults, pauses));
    }
}

async fn a_log_heals(faults: Vec<Fault>, pauses: Vec<u64>) {
    let flaky = FlakyLog::new(faults);
    let log: Arc<dyn TurnLog> = flaky.clone();
    let (a, b) = (Replica::new("a", &log), Replica::new("b", &log));
    let (live, cancel) = a.start("c").await;
    let here = rest(a.open(live.turn(), EventId::START).await);
    let there = rest(b.open(live.turn(), EventId::START).await);
    let mut said = vec![whole(log.as_ref(), live.turn()).await.events[0].body.clone()];
    let run = async {
        for (n, pause) in pauses.into_iter().enumerate() {
            let body = if n % 5 == 0 { started("ada") } else { delta("ada", &n.to_string()) };
            said.push(body.clone());
            live.push(body).unwrap();
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        said.push(ended());
        live.finish(ended()).await
    };

    let (here, there, finished) = tokio::join!(here, there, run);

    assert!(matches!(finished, Finished::Durable | Finished::Unconfirmed), "{finished:?}");
    assert!(!cancel.is_cancelled());
    assert_eq!(bodies(&here), said);
    assert_eq!(bodies(&there), said);
    let page = whole(log.as_ref(), live.turn()).await;
    assert_eq!((page.events, page.record.status), (here, TurnStatus::Completed));
}

#[tokio::test(start_paused = true)]
async fn while_the_log_is_away_local_readers_see_everything_and_later_it_has_everything() {
    let flaky = FlakyLog::new([]);
    let log: Arc<dyn TurnLog> = flaky.clone();
    let (a, b) = (Replica::new("a", &log), Replica::new("b", &log));
    let (live, cancel) = a.start("c").await;
    let (mut here, mut there) = (a.open(live.turn(), id(1, 1)).await, b.open(live.turn(), id(1, 1)).await);
    flaky.is(Mood::Down);

    live.push(routed(&["ada"])).unwrap();
    assert_eq!(live.flush().await, Flushed::Unconfirmed);
    assert_eq!(next(&mut here).await.unwrap().id, id(1, 2));
    live.push(completed("ada", "Yes.")).unwrap();
    assert_eq!(next(&mut here).await.unwrap().id, id(1, 3));
    assert_eq!(live.finish(ended()).await, Finished::Unconfirmed);
    assert!(next(&mut here).await.unwrap().body.is_terminal());
    assert!(a.turns.try_reserve().is_ok());
    assert!(matches!(b.turns.open(live.turn(), None).await, Err(ReadError::Unavailable(_))));
    assert!(tokio::time::timeout(Duration::from_secs(30), there.next()).await.is_err());

    flaky.is(Mood::Well);
    let there = rest(there).await;
    assert_eq!(there.len(), 3);
    assert_eq!(there, whole(log.as_ref(), live.turn()).await.events[1..]);
    assert!(!cancel.is_cancelled());
    assert_eq!((live.loss(), live.flush().await), (None, Flushed::Durable));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_stays_away_is_given_up_some_time_after_the_deadline() {
    let flaky = FlakyLog::new([]);
    let log: Arc<dyn TurnLog> = flaky.clone();
    let (a, b) = (Replica::new("a", &log), Replica::new("b", &log));
    let (live, cancel) = a.start("c").await;
    let mut there = b.open(live.turn(), id(1, 1)).await;
    flaky.is(Mood::Down);
    live.push(routed(&["ada"])).unwrap();

    let deadline = tokio::time::Instant::now() + *settings().deadline;
    assert!(matches!(there.next().await, Err(ReadError::Unavailable(_))));
    assert!(tokio::time::Instant::now() + Duration::from_secs(3) > deadline);
    assert!(!cancel.is_cancelled());
    cancel.cancelled().await;
    assert_eq!(live.loss(), Some(Loss::GivenUp));
    assert_eq!(a.metrics.turn_log.lost.get(&()), 1);
    tokio::task::yield_now().await;
    assert_eq!(a.turns.all().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_hangs_is_cut_off() {
    let flaky = FlakyLog::new([]);
    let log: Arc<dyn TurnLog> = flaky.clone();
    let a = Replica::new("a", &log);
    let (live, _) = a.start("c").await;
    flaky.is(Mood::Held);
    live.push(routed(&["ada"])).unwrap();
    let checkpoint = tokio::time::timeout(Duration::from_secs(4), live.flush()).await;
    assert_eq!(checkpoint, Ok(Flushed::Unconfirmed));
}
