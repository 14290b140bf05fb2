//! Rows of `state.md` §3: who may write a turn.

use std::sync::Arc;

use polylogue::turnlog::{Appended, Claim, TakenOver, TurnLog};
use polylogue::words::{ErrorCode, Event, EventBody, Failure, PersonaId, TurnStatus};
use tokio::task::JoinSet;

use super::stage::*;

type Log = Arc<dyn TurnLog>;

fn resets(events: &[Arc<Event>]) -> Vec<PersonaId> {
    let reset = |event: &Arc<Event>| {
        let EventBody::ReplyReset { persona, .. } = &event.body else { return None };
        Some(persona.clone())
    };
    events.iter().filter_map(reset).collect()
}

pub async fn a_takeover_resets_exactly_the_unfinished_replies(log: Log) {
    let turn = new_turn("c", "a");
    let claim = accept(log.as_ref(), &turn).await;
    let chosen = routed(&["done", "speaking", "waiting", "broken"]);
    let said = [chosen, started("done"), started("speaking"), delta("speaking", "I"), started("broken")];
    let events = batch(&claim, 2, said.into_iter().chain([completed("done", "Yes."), failed("broken")]));
    log.append(&claim, id(1, 1), &events).await.unwrap();

    let (new, page) = take_over(log.as_ref(), turn.turn, 1, "b").await;

    assert!(new.epoch > 1);
    assert_eq!(page.events, whole(log.as_ref(), turn.turn).await.events);
    let (before, after) = page.events.split_at(8);
    assert_eq!(before[1..], events);
    assert_eq!(resets(after), [persona("speaking"), persona("waiting")]);
    assert_eq!(after.iter().map(|e| e.id).collect::<Vec<_>>(), [id(new.epoch, 1), id(new.epoch, 2)]);
    assert_eq!((page.record.epoch, page.record.last), (new.epoch, id(new.epoch, 2)));
    assert_eq!((page.record.owner, page.record.takeovers), (Some(replica("b")), 1));
    assert_eq!(log.owned(Some(&replica("b"))).await.unwrap(), [(turn.turn, new.epoch)]);
    assert_eq!(log.owned(Some(&replica("a"))).await.unwrap(), []);
}

pub async fn a_takeover_before_routing_resets_nothing(log: Log) {
    let turn = new_turn("c", "a");
    accept(log.as_ref(), &turn).await;

    let (new, page) = take_over(log.as_ref(), turn.turn, 1, "b").await;

    assert_eq!((page.events.len(), page.record.last), (1, id(1, 1)));
    let first = batch(&new, 1, [routed(&["ada"])]);
    assert_eq!(log.append(&new, id(1, 1), &first).await.unwrap(), Appended::Ok { cancel: None });
}

pub async fn a_stale_owner_is_fenced_whatever_it_tries(log: Log) {
    let turn = new_turn("c", "a");
    let old = accept(log.as_ref(), &turn).await;
    take_over(log.as_ref(), turn.turn, 1, "b").await;

    let end = batch(&old, 2, [ended()]);
    assert_eq!(log.append(&old, id(1, 1), &end).await.unwrap(), Appended::Fenced);
    assert_eq!(log.append(&old, id(1, 1), &[]).await.unwrap(), Appended::Fenced);
    assert_eq!(log.finish(&old, id(1, 1), &end).await.unwrap(), Appended::Fenced);
    assert_eq!(log.release(&old, id(1, 1)).await.unwrap(), Appended::Fenced);
    // Nor does it help to know the epoch.
    let page = whole(log.as_ref(), turn.turn).await;
    let forged = Claim { epoch: page.record.epoch, ..old };
    assert_eq!(log.append(&forged, id(1, 1), &[]).await.unwrap(), Appended::Fenced);
    assert_eq!((page.events.len(), page.record.status), (1, TurnStatus::Running));
}

pub async fn epochs_only_grow_and_one_of_two_takeovers_wins(log: Log) {
    let turn = new_turn("c", "a");
    accept(log.as_ref(), &turn).await;

    let mut epoch = 1;
    for (winner, loser) in [("b", "c"), ("c", "b"), ("a", "b")] {
        let (claim, _) = take_over(log.as_ref(), turn.turn, epoch, winner).await;
        let late = log.take_over(turn.turn, epoch, &replica(loser)).await.unwrap();
        assert!(matches!(late, TakenOver::Lost));
        assert!(claim.epoch > epoch);
        epoch = claim.epoch;
    }
}

pub async fn a_turn_taken_over_too_often_is_given_only_to_end_it(log: Log) {
    let turn = new_turn("c", "a");
    accept(log.as_ref(), &turn).await;
    let mut epoch = 1;
    for _ in 0..settings().max_takeovers {
        epoch = take_over(log.as_ref(), turn.turn, epoch, "b").await.0.epoch;
    }

    let last = log.take_over(turn.turn, epoch, &replica("c")).await.unwrap();

    let TakenOver::TooOften { claim, page } = last else { panic!("taken over once more: {last:?}") };
    let error = Failure::new(ErrorCode::Internal, "It was begun too often.");
    let end = batch(&claim, 1, [EventBody::TurnFailed { error }]);
    let answer = log.finish(&claim, page.record.last, &end).await.unwrap();
    assert_eq!(answer, Appended::Ok { cancel: None });
    assert_eq!(whole(log.as_ref(), turn.turn).await.record.status, TurnStatus::Failed);
}

pub async fn a_released_turn_is_nobodys_until_somebody_takes_it(log: Log) {
    let turn = new_turn("c", "a");
    let claim = accept(log.as_ref(), &turn).await;
    let stale = Appended::Resend { from: id(1, 1) };
    assert_eq!(log.release(&claim, id(1, 9)).await.unwrap(), stale);

    assert_eq!(log.release(&claim, id(1, 1)).await.unwrap(), Appended::Ok { cancel: None });
    assert_eq!(log.release(&claim, id(1, 1)).await.unwrap(), Appended::Ok { cancel: None }, "once more");

    assert_eq!(log.append(&claim, id(1, 1), &[]).await.unwrap(), Appended::Fenced);
    assert_eq!(log.owned(None).await.unwrap(), [(turn.turn, 1)]);
    assert_eq!(log.current(&turn.conversation).await.unwrap(), Some((turn.turn, TurnStatus::Running)));
    let (claim, _) = take_over(log.as_ref(), turn.turn, 1, "b").await;
    assert_eq!(log.owned(None).await.unwrap(), []);
    let late = Claim { owner: replica("a"), epoch: 1, ..claim.clone() };
    assert_eq!(log.release(&late, id(1, 1)).await.unwrap(), Appended::Fenced);
    assert_eq!(log.append(&claim, id(1, 1), &[]).await.unwrap(), Appended::Ok { cancel: None });
}

pub async fn a_race_of_owners_leaves_exactly_one_terminal_event(log: Log) {
    for round in 0..50 {
        let turn = new_turn(&format!("race-{round}"), "a");
        let claim = accept(log.as_ref(), &turn).await;
        let mut racers = JoinSet::new();
        racers.spawn(end_it(Arc::clone(&log), claim));
        for rival in ["b", "c"] {
            let (log, turn) = (Arc::clone(&log), turn.turn);
            racers.spawn(async move {
                if let TakenOver::Ok { claim, .. } = log.take_over(turn, 1, &replica(rival)).await.unwrap() {
                    end_it(log, claim).await;
                }
            });
        }
        racers.join_all().await;

        let page = whole(log.as_ref(), turn.turn).await;
        let ends: Vec<_> = page.events.iter().filter(|event| event.body.is_terminal()).collect();
        assert_eq!((ends.len(), page.record.status), (1, TurnStatus::Completed));
        assert_eq!(ends[0].id, page.record.last);
    }
}

async fn end_it(log: Log, claim: Claim) {
    let record = whole(log.as_ref(), claim.turn).await.record;
    let seq = if record.last.epoch == claim.epoch { record.last.seq + 1 } else { 1 };
    log.finish(&claim, record.last, &batch(&claim, seq, [ended()])).await.unwrap();
}
