//! Rows of `state.md` §2: accept, append, finish, read.

use std::sync::Arc;
use std::time::Duration;

use polylogue::turnlog::{Accepted, Appended, Idempotency, TakenOver, TurnLog};
use polylogue::words::{CancelReason, EventId, Realm, TurnStatus};

use super::stage::*;

type Log = Arc<dyn TurnLog>;

const OK: Appended = Appended::Ok { cancel: None };

fn key(key: u8, body: u8) -> Option<Idempotency> {
    Some(Idempotency { key: [key; 32], body: [body; 32] })
}

pub async fn an_accepted_turn_can_be_read(log: Log) {
    let turn = new_turn("c", "a");
    let claim = accept(log.as_ref(), &turn).await;

    let page = whole(log.as_ref(), turn.turn).await;
    assert_eq!(page.events, [Arc::clone(&turn.first)]);
    let (record, expected) = (page.record, turn.page().record);
    assert_eq!((record.turn, record.status, record.last), (turn.turn, TurnStatus::Running, id(1, 1)));
    assert_eq!((record.epoch, record.owner), (claim.epoch, Some(replica("a"))));
    assert_eq!((record.principal, record.conversation), (expected.principal, expected.conversation));
    assert_eq!((record.deadline, record.request.get()), (turn.deadline, turn.request.get()));
    assert_eq!(log.current(&turn.conversation).await.unwrap(), Some((turn.turn, TurnStatus::Running)));
    assert_eq!(log.owned(Some(&replica("a"))).await.unwrap(), [(turn.turn, 1)]);
    assert_eq!(log.owned(Some(&replica("b"))).await.unwrap(), []);
    assert_eq!(log.owned(None).await.unwrap(), []);
}

pub async fn the_same_key_finds_the_same_turn_and_refuses_another_body(log: Log) {
    let mut first = new_turn("c", "a");
    first.idempotency = key(1, 1);
    accept(log.as_ref(), &first).await;

    let again = |conversation, key| {
        let mut turn = new_turn(conversation, "b");
        turn.idempotency = key;
        log.accept(turn)
    };
    assert_eq!(log.find(&key(1, 1).unwrap()).await.unwrap(), Some(Accepted::Same(first.turn)));
    assert_eq!(log.find(&key(1, 2).unwrap()).await.unwrap(), Some(Accepted::OtherBody));
    assert_eq!(log.find(&key(2, 1).unwrap()).await.unwrap(), None);
    // The key is looked at before the conversation is found busy.
    assert_eq!(again("c", key(1, 1)).await.unwrap(), Accepted::Same(first.turn));
    assert_eq!(again("c", key(1, 2)).await.unwrap(), Accepted::OtherBody);
    assert_eq!(again("c", key(2, 1)).await.unwrap(), Accepted::Busy(first.turn));
    // A refusal uses nothing up: the key that met a busy conversation is free.
    assert!(matches!(again("other", key(2, 9)).await.unwrap(), Accepted::Ok(_)));
}

pub async fn a_turn_is_of_its_principal_whose_conversation_is_nobody_elses(log: Log) {
    let ada = new_turn_of("key:ada", "c", "a");
    let bob = new_turn_of("subject:ada", "c", "b");
    let nobody = new_turn("c", "a");
    for turn in [&ada, &bob, &nobody] {
        accept(log.as_ref(), turn).await;
    }
    for turn in [&ada, &bob, &nobody] {
        let realm = Realm::of(&turn.principal);
        assert_eq!(log.realm_of(turn.turn).await.unwrap(), Some(realm));
        assert_eq!(log.current(&turn.conversation).await.unwrap(), Some((turn.turn, TurnStatus::Running)));
        let record = whole(log.as_ref(), turn.turn).await.record;
        assert_eq!(
            (record.principal, record.conversation),
            (turn.principal.clone(), turn.conversation.clone())
        );
    }
    let again = new_turn_of("key:ada", "c", "b");
    assert_eq!(log.accept(again).await.unwrap(), Accepted::Busy(ada.turn));
    assert_eq!(log.realm_of(new_turn_of("key:ada", "c", "a").turn).await.unwrap(), None);
}

pub async fn a_turn_that_was_taken_over_is_still_of_its_principal(log: Log) {
    let turn = new_turn_of("key:ada", "c", "a");
    accept(log.as_ref(), &turn).await;
    let Ok(TakenOver::Ok { page, .. }) = log.take_over(turn.turn, 1, &replica("b")).await else {
        panic!("it can be taken over");
    };
    assert_eq!((&page.record.principal, &page.record.conversation), (&turn.principal, &turn.conversation));
    assert_eq!(log.realm_of(turn.turn).await.unwrap(), Some(Realm::of(&turn.principal)));
}

pub async fn a_busy_conversation_takes_no_second_turn_until_the_first_has_ended(log: Log) {
    let (first, second) = (new_turn("c", "a"), new_turn("c", "b"));
    let claim = accept(log.as_ref(), &first).await;
    assert_eq!(log.accept(second.clone()).await.unwrap(), Accepted::Busy(first.turn));

    log.finish(&claim, id(1, 1), &batch(&claim, 2, [ended()])).await.unwrap();

    assert_eq!(log.current(&first.conversation).await.unwrap(), Some((first.turn, TurnStatus::Completed)));
    accept(log.as_ref(), &second).await;
    assert_eq!(log.current(&first.conversation).await.unwrap(), Some((second.turn, TurnStatus::Running)));
}

pub async fn an_accept_whose_answer_was_lost_may_be_repeated(log: Log) {
    let mut turn = new_turn("c", "a");
    turn.idempotency = key(1, 1);
    let claim = accept(log.as_ref(), &turn).await;
    assert_eq!(accept(log.as_ref(), &turn).await, claim);
    assert_eq!(whole(log.as_ref(), turn.turn).await.events.len(), 1);
}

pub async fn an_accept_that_arrives_late_begins_nothing_again(log: Log) {
    let (ended_turn, taken) = (new_turn("c", "a"), new_turn("d", "a"));
    let claim = accept(log.as_ref(), &ended_turn).await;
    log.finish(&claim, id(1, 1), &batch(&claim, 2, [ended()])).await.unwrap();
    accept(log.as_ref(), &taken).await;
    take_over(log.as_ref(), taken.turn, 1, "b").await;

    for turn in [&ended_turn, &taken] {
        let before = whole(log.as_ref(), turn.turn).await;
        assert_eq!(log.accept(turn.clone()).await.unwrap(), Accepted::Same(turn.turn));
        let after = whole(log.as_ref(), turn.turn).await;
        assert_eq!(after.events, before.events);
        assert_eq!((after.record.status, after.record.owner), (before.record.status, before.record.owner));
    }
}

pub async fn a_write_that_does_not_follow_is_told_where_to_go_on(log: Log) {
    let turn = new_turn("c", "a");
    let claim = accept(log.as_ref(), &turn).await;
    let ahead = batch(&claim, 5, [delta("ada", "x")]);

    assert_eq!(log.append(&claim, id(1, 4), &ahead).await.unwrap(), Appended::Resend { from: id(1, 1) });
    assert_eq!(log.finish(&claim, id(1, 4), &ahead).await.unwrap(), Appended::Resend { from: id(1, 1) });
    assert_eq!(
        log.append(&claim, EventId::START, &ahead).await.unwrap(),
        Appended::Resend { from: id(1, 1) }
    );
    assert_eq!(log.append(&claim, id(1, 4), &[]).await.unwrap(), Appended::Resend { from: id(1, 1) });
    assert_eq!(log.append(&claim, id(1, 1), &[]).await.unwrap(), OK);
    assert_eq!(log.append(&claim, id(1, 1), &batch(&claim, 2, [routed(&["ada"])])).await.unwrap(), OK);
    assert_eq!(whole(log.as_ref(), turn.turn).await.record.last, id(1, 2));
}

pub async fn a_write_repeated_after_a_lost_answer_doubles_nothing(log: Log) {
    let turn = new_turn("c", "a");
    let claim = accept(log.as_ref(), &turn).await;
    let events = batch(&claim, 2, [routed(&["ada"]), started("ada")]);

    assert_eq!(log.append(&claim, id(1, 1), &events).await.unwrap(), OK);
    assert_eq!(log.append(&claim, id(1, 1), &events).await.unwrap(), Appended::Resend { from: id(1, 3) });
    assert_eq!(whole(log.as_ref(), turn.turn).await.events.len(), 3);
}

pub async fn a_finish_repeated_after_a_lost_answer_is_ok(log: Log) {
    let turn = new_turn("c", "a");
    let claim = accept(log.as_ref(), &turn).await;
    let end = batch(&claim, 2, [ended()]);

    assert_eq!(log.finish(&claim, id(1, 1), &end).await.unwrap(), OK);
    assert_eq!(log.finish(&claim, id(1, 1), &end).await.unwrap(), OK);
    assert_eq!(whole(log.as_ref(), turn.turn).await.events.len(), 2);
}

pub async fn a_cancel_is_seen_at_the_next_write_and_its_first_reason_stands(log: Log) {
    let turn = new_turn("c", "a");
    let claim = accept(log.as_ref(), &turn).await;

    let status = log.cancel(turn.turn, CancelReason::Interrupted).await.unwrap();
    assert_eq!(status, Some(TurnStatus::Running));
    log.cancel(turn.turn, CancelReason::Deleted).await.unwrap();

    let seen = Appended::Ok { cancel: Some(CancelReason::Interrupted) };
    assert_eq!(log.append(&claim, id(1, 1), &[]).await.unwrap(), seen);
    assert_eq!(log.append(&claim, id(1, 1), &batch(&claim, 2, [started("ada")])).await.unwrap(), seen);
    assert_eq!(whole(log.as_ref(), turn.turn).await.record.cancel, Some(CancelReason::Interrupted));
    // A cancel outlives its owner.
    let (_, page) = take_over(log.as_ref(), turn.turn, 1, "b").await;
    assert_eq!(page.record.cancel, Some(CancelReason::Interrupted));
}

pub async fn an_ended_turn_takes_nothing_more(log: Log) {
    let turn = new_turn("c", "a");
    let claim = accept(log.as_ref(), &turn).await;
    log.finish(&claim, id(1, 1), &batch(&claim, 2, [ended()])).await.unwrap();

    let is_over = Appended::Ended(TurnStatus::Completed);
    let late = batch(&claim, 3, [ended()]);
    assert_eq!(log.append(&claim, id(1, 2), &late).await.unwrap(), is_over);
    assert_eq!(log.finish(&claim, id(1, 2), &late).await.unwrap(), is_over);
    assert_eq!(log.release(&claim, id(1, 2)).await.unwrap(), is_over);
    let taken = log.take_over(turn.turn, 1, &replica("b")).await.unwrap();
    assert!(matches!(taken, TakenOver::Ended(TurnStatus::Completed)));
    let cancelled = log.cancel(turn.turn, CancelReason::Requested).await.unwrap();
    assert_eq!(cancelled, Some(TurnStatus::Completed));
    let page = whole(log.as_ref(), turn.turn).await;
    assert_eq!((page.events.len(), page.record.cancel), (2, None));
    assert_eq!(log.owned(Some(&replica("a"))).await.unwrap(), []);
}

pub async fn what_the_log_does_not_know_is_gone(log: Log) {
    let turn = new_turn("c", "a");
    let claim = turn.claim();

    assert_eq!(log.append(&claim, id(1, 1), &[]).await.unwrap(), Appended::Gone);
    assert_eq!(log.finish(&claim, id(1, 1), &batch(&claim, 2, [ended()])).await.unwrap(), Appended::Gone);
    assert_eq!(log.release(&claim, id(1, 1)).await.unwrap(), Appended::Gone);
    assert!(matches!(log.take_over(turn.turn, 1, &replica("b")).await.unwrap(), TakenOver::Lost));
    assert!(log.read(turn.turn, EventId::START, 9).await.unwrap().is_none());
    assert_eq!(log.cancel(turn.turn, CancelReason::Requested).await.unwrap(), None);
    assert_eq!(log.current(&turn.conversation).await.unwrap(), None);
}

pub async fn an_ended_turn_and_its_key_are_forgotten_after_a_while(log: Log) {
    let mut turn = new_turn("c", "a");
    turn.idempotency = key(1, 1);
    let claim = accept(log.as_ref(), &turn).await;
    log.finish(&claim, id(1, 1), &batch(&claim, 2, [ended()])).await.unwrap();
    assert!(log.read(turn.turn, EventId::START, 9).await.unwrap().is_some());

    tokio::time::sleep(RETENTION + Duration::from_millis(20)).await;

    assert!(log.read(turn.turn, EventId::START, 9).await.unwrap().is_none());
    assert_eq!(log.current(&turn.conversation).await.unwrap(), None);
    let mut other_body = new_turn("c", "a");
    other_body.idempotency = key(1, 2);
    accept(log.as_ref(), &other_body).await;
}

pub async fn a_log_is_read_in_pages(log: Log) {
    let turn = new_turn("c", "a");
    let claim = accept(log.as_ref(), &turn).await;
    let events = batch(&claim, 2, (0..9).map(|n| delta("ada", &n.to_string())));
    log.append(&claim, id(1, 1), &events).await.unwrap();

    let page = log.read(turn.turn, id(1, 3), 4).await.unwrap().unwrap();
    assert_eq!(page.events, events[2..6]);
    assert_eq!(page.record.last, id(1, 10));
    assert_eq!(log.read(turn.turn, id(1, 10), 4).await.unwrap().unwrap().events, []);
    assert_eq!(log.read(turn.turn, id(1, 99), 4).await.unwrap().unwrap().events, []);
}

pub async fn a_change_wakes_who_waits_for_it(log: Log) {
    let turn = new_turn("c", "a");
    let claim = accept(log.as_ref(), &turn).await;
    let soon = |seen| tokio::time::timeout(Duration::from_secs(2), log.changed(turn.turn, seen));

    // What is there already is not waited for; what never comes is not waited for much longer than a second.
    soon(EventId::START).await.unwrap();
    soon(id(1, 1)).await.unwrap();

    let events = batch(&claim, 2, [started("ada")]);
    let (woken, written) = tokio::join!(soon(id(1, 1)), log.append(&claim, id(1, 1), &events));
    woken.unwrap();
    assert_eq!(written.unwrap(), OK);
    log.changed(new_turn("c", "a").turn, EventId::START).await;
}
