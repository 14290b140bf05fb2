//! Every row of `state.md` §4, and every cut of every turn.

use std::sync::Arc;

use futures_util::FutureExt as _;
use polylogue::turnlog::{Live, ReadError, TurnLog};
use polylogue::words::{Event, EventBody, EventId, TurnId};
use proptest::prelude::*;

use super::stage::*;

const PERSONAS: [&str; 3] = ["ada", "bob", "eve"];

/// What a turn does, step by step; what makes no sense for a reply that has ended is left out.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Speak(usize),
    Complete(usize),
    Fail(usize),
    /// The writer gets a chance.
    Pause(u64),
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..3_usize).prop_map(Step::Speak),
        1 => (0..3_usize).prop_map(Step::Complete),
        1 => (0..3_usize).prop_map(Step::Fail),
        3 => (0..40_u64).prop_map(Step::Pause),
    ];
    prop::collection::vec(step, 0..32)
}

/// Does the steps after the turn was routed; replies that are over take no more.
pub async fn perform(live: &Live, steps: &[Step], over: &mut [bool; 3]) {
    for (n, step) in steps.iter().enumerate() {
        let body = match *step {
            Step::Pause(millis) => {
                tokio::time::sleep(std::time::Duration::from_millis(millis)).await;
                continue;
            }
            Step::Speak(p) | Step::Complete(p) | Step::Fail(p) if over[p] => continue,
            Step::Speak(p) => delta(PERSONAS[p], &format!("{n} ")),
            Step::Complete(p) => completed(PERSONAS[p], &format!("all of {n}")),
            Step::Fail(p) => failed(PERSONAS[p]),
        };
        if let Step::Complete(p) | Step::Fail(p) = *step {
            over[p] = true;
        }
        // An owner that lost the turn meanwhile is told so, and that is part of the play.
        let _ = live.push(body);
    }
}

pub fn begin(live: &Live) {
    live.push(routed(&PERSONAS)).unwrap();
    for name in PERSONAS {
        live.push(started(name)).unwrap();
    }
}

pub fn playing(play: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(play);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_reader_cut_after_any_event_goes_on_exactly_there(steps in steps()) {
        playing(every_cut(steps));
    }
}

async fn every_cut(steps: Vec<Step>) {
    let log = shared_log();
    let (a, b) = (Replica::new("a", &log), Replica::new("b", &log));
    let (live, _) = a.start("c").await;
    let turn = live.turn();
    let readers = async {
        let (whole, other) =
            (rest(a.open(turn, EventId::START).await), rest(b.open(turn, EventId::START).await));
        tokio::join!(whole, other, one_at_a_time(&a, turn), one_at_a_time(&b, turn))
    };
    let run = async {
        begin(&live);
        perform(&live, &steps, &mut [false; 3]).await;
        live.flush().await;
        // A reader at every place, here and elsewhere, before the end comes.
        let events = whole(log.as_ref(), turn).await.events;
        let mut cut = Vec::new();
        for event in &events {
            cut.push((event.id, a.open(turn, event.id).await));
            cut.push((event.id, b.open(turn, event.id).await));
        }
        live.finish(ended()).await;
        cut
    };

    let ((here, there, hopping_here, hopping_there), cut) = tokio::join!(readers, run);

    assert_eq!(here, whole(log.as_ref(), turn).await.events);
    assert_eq!((&there, &hopping_here, &hopping_there), (&here, &here, &here));
    let after = |place: EventId| here.iter().filter(|event| event.id > place).cloned().collect::<Vec<_>>();
    for (place, reader) in cut {
        assert_eq!(rest(reader).await, after(place));
    }
    for event in &here[..here.len() - 1] {
        assert_eq!(rest(b.open(turn, event.id).await).await, after(event.id));
    }
}

/// A client that loses its connection after every event.
async fn one_at_a_time(replica: &Replica, turn: TurnId) -> Vec<Arc<Event>> {
    let mut seen: Vec<Arc<Event>> = Vec::new();
    loop {
        let position = seen.last().map(|event| event.id);
        let Some(mut reader) = replica.turns.open(turn, position).await.unwrap() else { return seen };
        seen.extend(next(&mut reader).await);
    }
}

#[tokio::test(start_paused = true)]
async fn positions_mean_the_same_here_and_elsewhere() {
    let log = shared_log();
    let (a, b) = (Replica::new("a", &log), Replica::new("b", &log));
    let (live, _) = a.start("c").await;
    let turn = live.turn();
    live.push(routed(&["ada"])).unwrap();
    live.flush().await;

    for replica in [&a, &b] {
        // Epochs begin with 1, and only this one has been.
        for unknown in [id(2, 1), id(2, 0), id(0, 7), id(u64::MAX, 1)] {
            assert!(matches!(replica.turns.open(turn, Some(unknown)).await, Err(ReadError::EventUnknown)));
        }
        for start in [None, Some(EventId::START), Some(id(1, 0))] {
            let mut reader = replica.turns.open(turn, start).await.unwrap().unwrap();
            assert_eq!(next(&mut reader).await.unwrap().id, id(1, 1));
        }
        let other = new_turn("c", "a").turn;
        assert!(matches!(replica.turns.open(other, None).await, Err(ReadError::TurnUnknown)));
    }
    let (mut here, mut there) = (a.open(turn, id(1, 4)).await, b.open(turn, id(1, 4)).await);
    for body in [started("ada"), delta("ada", "x"), delta("ada", "y")] {
        live.push(body).unwrap();
    }
    live.flush().await;
    // Ahead of what the log had: exactly what follows, once it is there.
    assert_eq!(next(&mut here).await.unwrap().id, id(1, 5));
    assert_eq!(next(&mut there).await.unwrap().id, id(1, 5));
    let (mut here, mut there) = (a.open(turn, id(1, 9)).await, b.open(turn, id(1, 9)).await);

    live.finish(ended()).await;

    assert!(matches!(here.next().await, Err(ReadError::EventUnknown)));
    assert!(matches!(there.next().await, Err(ReadError::EventUnknown)));
    for replica in [&a, &b] {
        assert!(replica.turns.open(turn, Some(id(1, 6))).await.unwrap().is_none());
        assert!(matches!(replica.turns.open(turn, Some(id(1, 7))).await, Err(ReadError::EventUnknown)));
        assert_eq!(rest(replica.open(turn, id(1, 5)).await).await.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_was_not_taken_comes_again() {
    let log = shared_log();
    let (a, b) = (Replica::new("a", &log), Replica::new("b", &log));
    let (live, _) = a.start("c").await;
    let mut readers = [a.open(live.turn(), id(1, 1)).await, b.open(live.turn(), id(1, 1)).await];
    for reader in &mut readers {
        assert!(reader.next().now_or_never().is_none());
    }
    live.push(delta("ada", "x")).unwrap();
    live.flush().await;
    for reader in &mut readers {
        assert_eq!(next(reader).await.unwrap().id, id(1, 2));
        assert_eq!(reader.position(), id(1, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_log_is_followed_page_by_page() {
    let log = shared_log();
    let (a, b) = (Replica::new("a", &log), Replica::new("b", &log));
    let (live, _) = a.start("c").await;
    for n in 0..1000 {
        live.push(delta("ada", &n.to_string())).unwrap();
    }
    live.finish(ended()).await;
    let seen = rest(b.open(live.turn(), EventId::START).await).await;
    assert_eq!(seen.len(), 1002);
    let page = b.turns.page(live.turn()).await.unwrap();
    assert_eq!(page.events, seen);
    assert!(matches!(seen[1001].body, EventBody::TurnCompleted { .. }));
    let _ = Arc::<dyn TurnLog>::clone(&log);
}
