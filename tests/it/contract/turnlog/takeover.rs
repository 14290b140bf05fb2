//! A turn that changes its owner in the middle: what a client saw, after applying resets, is what the log tells.

use std::sync::Arc;
use std::time::Duration;

use polylogue::turnlog::{Finished, TurnLog, fold};
use polylogue::words::{EventBody, EventId, TurnId};
use proptest::prelude::*;

use super::flaky::{FlakyLog, Mood};
use super::resume::{Step, begin, perform, playing, steps};
use super::stage::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_a_client_saw_through_a_takeover_is_what_the_log_tells(before in steps(), after in steps(), lost in steps()) {
        playing(a_takeover(before, lost, after));
    }
}

/// The first owner is cut off from the log after `before`: what it says then (`lost`) only its local readers see.
async fn a_takeover(before: Vec<Step>, lost: Vec<Step>, after: Vec<Step>) {
    let flaky = FlakyLog::new([]);
    let (broken, healthy): (Arc<dyn TurnLog>, Arc<dyn TurnLog>) = (flaky.clone(), flaky.clone());
    let (a, b) = (Replica::new("a", &broken), Replica::new("b", &healthy));
    let (old, _) = a.start("c").await;
    let turn = old.turn();
    let here = rest(a.open(turn, EventId::START).await);
    let there = rest(b.open(turn, EventId::START).await);
    let resumed = resumed_after_the_tail(&a, turn);
    let run = async {
        begin(&old);
        let mut over = [false; 3];
        perform(&old, &before, &mut over).await;
        old.flush().await;
        flaky.is(Mood::Held);
        let silent: Vec<_> = lost.into_iter().filter(|step| !matches!(step, Step::Pause(_))).collect();
        perform(&old, &silent, &mut over).await;
        tokio::task::yield_now().await;

        let (new, page) = b.take_over(turn, 1).await;
        flaky.is(Mood::Well);
        let so_far = fold(&page.record, &page.events);
        let mut over = [0, 1, 2].map(|place: usize| so_far.replies[place].status.is_terminal());
        perform(&new, &after, &mut over).await;
        new.finish(ended()).await
    };

    let (here, there, resumed, finished) = tokio::join!(here, there, resumed, run);

    assert_eq!(finished, Finished::Durable);
    let page = whole(healthy.as_ref(), turn).await;
    assert_eq!(there, page.events);
    let told = fold(&page.record, &page.events);
    assert_eq!(fold(&page.record, &here), told);
    assert_eq!(fold(&page.record, &resumed), told);
    assert!(here.iter().zip(&here[1..]).all(|(one, next)| one.id < next.id));
    let unseen = here.iter().filter(|event| !page.events.contains(event));
    assert!({ unseen }.all(|event| matches!(event.body, EventBody::ReplyDelta { .. })));
}

/// A client that leaves while the first owner is cut off, with events nobody else ever saw, and comes back after it.
async fn resumed_after_the_tail(a: &Replica, turn: TurnId) -> Vec<Arc<polylogue::words::Event>> {
    let mut reader = a.open(turn, EventId::START).await;
    let mut seen = Vec::new();
    while let Ok(event) = tokio::time::timeout(Duration::from_millis(200), reader.next()).await {
        seen.extend(event.unwrap());
        if seen.last().is_some_and(|event| event.body.is_terminal() || event.id.epoch > 1) {
            break;
        }
    }
    let position = seen.last().unwrap().id;
    drop(reader);
    if let Some(reader) = a.turns.open(turn, Some(position)).await.unwrap() {
        seen.extend(rest(reader).await);
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn a_reader_with_an_unseen_tail_resumes_elsewhere_with_the_resets() {
    let flaky = FlakyLog::new([]);
    let log: Arc<dyn TurnLog> = flaky.clone();
    let (a, b) = (Replica::new("a", &log), Replica::new("b", &log));
    let (old, _) = a.start("c").await;
    begin(&old);
    old.flush().await;
    flaky.is(Mood::Held);
    let mut reader = a.open(old.turn(), id(1, 5)).await;
    old.push(delta("ada", "nobody else will ever see this")).unwrap();
    assert_eq!(next(&mut reader).await.unwrap().id, id(1, 6));

    let (new, _) = b.take_over(old.turn(), 1).await;

    let mut resumed = b.open(old.turn(), id(1, 6)).await;
    for seq in 1..=3 {
        let event = next(&mut resumed).await.unwrap();
        assert_eq!(event.id, id(new.claim().epoch, seq));
        assert!(matches!(event.body, EventBody::ReplyReset { .. }));
    }
}
