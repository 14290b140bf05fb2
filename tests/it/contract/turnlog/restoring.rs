//! Turns that their owner has and the log has not: begun without it, or lost by it (`state.md` §5).

use std::sync::Arc;

use polylogue::turnlog::{Accepted, Appended, Idempotency, LogPage, NewTurn, TurnLog};
use polylogue::words::{CancelReason, EventBody, TurnStatus};

use super::stage::*;

type Log = Arc<dyn TurnLog>;

const OK: Appended = Appended::Ok { cancel: None };

/// The turn as its owner has it after these events.
fn copy(turn: &NewTurn, bodies: impl IntoIterator<Item = EventBody>) -> LogPage {
    let mut page = turn.page();
    page.events.extend(batch(&turn.claim(), 2, bodies));
    page.record.last = page.events.last().unwrap().id;
    if page.events.last().unwrap().body.is_terminal() {
        page.record.status = TurnStatus::Completed;
    }
    page
}

pub async fn a_turn_the_log_never_had_is_restored_whole(log: Log) {
    let mut turn = new_turn("c", "a");
    let key = Idempotency { key: [1; 32], body: [1; 32] };
    turn.idempotency = Some(key.clone());
    let claim = turn.claim();
    let many = (0..600).map(|n| delta("ada", &n.to_string()));
    let page = copy(&turn, [routed(&["ada"]), started("ada")].into_iter().chain(many));

    assert_eq!(log.append(&claim, id(1, 1), &[]).await.unwrap(), Appended::Gone);
    assert_eq!(log.restore(&claim, &page).await.unwrap(), OK);

    let restored = whole_by_pages(log.as_ref(), turn.turn).await;
    assert_eq!(restored.events, page.events);
    assert_eq!(restored.record.request.get(), turn.request.get());
    assert_eq!(log.current(&turn.conversation).await.unwrap(), Some((turn.turn, TurnStatus::Running)));
    assert_eq!(log.owned(Some(&replica("a"))).await.unwrap(), [(turn.turn, 1)]);
    assert_eq!(log.find(&key).await.unwrap(), Some(Accepted::Same(turn.turn)));
    let next = batch(&claim, 604, [delta("ada", "on")]);
    assert_eq!(log.append(&claim, id(1, 603), &next).await.unwrap(), OK);
}

pub async fn an_owner_restores_its_turn_over_what_the_log_has_of_it(log: Log) {
    let turn = new_turn("c", "a");
    let claim = accept(log.as_ref(), &turn).await;
    log.cancel(turn.turn, CancelReason::Requested).await.unwrap();
    let page = copy(&turn, [routed(&["ada"]), ended()]);

    let cancelled = Appended::Ok { cancel: Some(CancelReason::Requested) };
    assert_eq!(log.restore(&claim, &page).await.unwrap(), cancelled);
    assert_eq!(log.restore(&claim, &page).await.unwrap(), cancelled, "the answer may get lost");

    let restored = whole(log.as_ref(), turn.turn).await;
    assert_eq!(restored.events, page.events);
    assert_eq!(restored.record.status, TurnStatus::Completed);
    assert_eq!(log.owned(Some(&replica("a"))).await.unwrap(), []);
    assert_eq!(log.current(&turn.conversation).await.unwrap(), Some((turn.turn, TurnStatus::Completed)));
    accept(log.as_ref(), &new_turn("c", "b")).await;
}

pub async fn a_turn_that_is_anothers_now_is_not_restored(log: Log) {
    let turn = new_turn("c", "a");
    let claim = accept(log.as_ref(), &turn).await;
    let (new, _) = take_over(log.as_ref(), turn.turn, 1, "b").await;
    let page = copy(&turn, [routed(&["ada"]), started("ada")]);

    assert_eq!(log.restore(&claim, &page).await.unwrap(), Appended::Fenced);
    log.finish(&new, id(1, 1), &batch(&new, 1, [ended()])).await.unwrap();
    assert_eq!(log.restore(&claim, &page).await.unwrap(), Appended::Ended(TurnStatus::Completed));
    assert_eq!(whole(log.as_ref(), turn.turn).await.events.len(), 2);
}

pub async fn what_leads_elsewhere_meanwhile_keeps_leading_there(log: Log) {
    let key = Idempotency { key: [1; 32], body: [1; 32] };
    let mut alone = new_turn("c", "a");
    alone.idempotency = Some(key.clone());
    let mut first = new_turn("c", "b");
    first.idempotency = Some(key.clone());
    accept(log.as_ref(), &first).await;

    assert_eq!(log.restore(&alone.claim(), &copy(&alone, [ended()])).await.unwrap(), OK);

    assert_eq!(log.find(&key).await.unwrap(), Some(Accepted::Same(first.turn)));
    assert_eq!(log.current(&first.conversation).await.unwrap(), Some((first.turn, TurnStatus::Running)));
    assert_eq!(whole(log.as_ref(), alone.turn).await.record.status, TurnStatus::Completed);
}
