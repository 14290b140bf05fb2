//! The checks themselves, on sequences made by hand: what is right passes, and each way to be wrong is noticed.

use std::sync::Arc;

use polylogue::words::{Event, EventBody, EventId, PersonaId, ResetReason, Routing, RoutingSource, TurnId};

use super::check::{in_order, nothing_lost, nothing_missed, same_view};

fn ada() -> PersonaId {
    "ada".parse().unwrap()
}

fn routed() -> EventBody {
    let routing = Routing { personas: vec![ada()], source: RoutingSource::Single, reason: String::new() };
    EventBody::RoutingDecided { routing }
}

fn says(text: &str) -> EventBody {
    EventBody::ReplyDelta { persona: ada(), text: text.into() }
}

fn said(content: &str) -> EventBody {
    EventBody::ReplyCompleted {
        persona: ada(),
        message_id: turn().reply_message(0),
        content: content.into(),
        finish_reason: "stop".into(),
        model: None,
        usage: None,
    }
}

fn reset() -> EventBody {
    EventBody::ReplyReset { persona: ada(), reason: ResetReason::Takeover }
}

fn ends() -> EventBody {
    EventBody::TurnCompleted { usage: None }
}

fn turn() -> TurnId {
    "01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2".parse().unwrap()
}

/// One epoch, counted from 1.
fn epoch(epoch: u64, bodies: impl IntoIterator<Item = EventBody>) -> Vec<Arc<Event>> {
    let turn = turn();
    let numbered = (1..).zip(bodies);
    numbered.map(|(seq, body)| Arc::new(Event::new(EventId { epoch, seq }, turn, body))).collect()
}

/// A turn whose first owner died in the middle of a reply.
fn log() -> Vec<Arc<Event>> {
    let first = epoch(1, [routed(), says("x")]);
    [first, epoch(7, [reset(), says("y"), says("z"), said("yz"), ends()])].concat()
}

/// What a client saw that was with the first owner to its end.
fn seen() -> Vec<Arc<Event>> {
    let first = epoch(1, [routed(), says("x"), says("never written")]);
    [first[..].to_vec(), log()[2..].to_vec()].concat()
}

fn without(mut events: Vec<Arc<Event>>, place: usize) -> Vec<Arc<Event>> {
    events.remove(place);
    events
}

fn nowhere(_: EventId) -> bool {
    false
}

#[test]
fn a_client_with_an_unseen_tail_and_its_resets_is_right() {
    let (seen, log) = (seen(), log());
    in_order(&log).unwrap();
    in_order(&seen).unwrap();
    same_view(&seen, &log).unwrap();
    nothing_missed(&seen, &log).unwrap();
    nothing_lost(&seen, &log, nowhere).unwrap();
}

#[test]
fn gaps_doubles_and_disorder_are_noticed() {
    for place in 0..seen().len() {
        let is_tail = place == 2;
        assert_eq!(in_order(&without(seen(), place)).is_ok(), is_tail, "without {place}");
        let mut doubled = seen();
        doubled.insert(place, Arc::clone(&seen()[place]));
        assert!(in_order(&doubled).is_err(), "{place} doubled");
    }
    let mut swapped = seen();
    swapped.swap(4, 5);
    assert!(in_order(&swapped).is_err());
    let returns = [log(), epoch(1, [routed()])].concat();
    assert!(in_order(&returns).is_err(), "an older epoch comes again");
}

#[test]
fn a_turn_that_ends_twice_or_not_at_all_is_noticed() {
    assert!(in_order(&[log(), epoch(9, [ends()])].concat()).is_err());
    assert!(in_order(&log()[..6]).is_err());
    assert!(in_order(&[]).is_err());
}

#[test]
fn a_text_that_is_not_what_was_said_is_noticed() {
    // The reset is missing, and all numbers are right.
    let unreset = [epoch(1, [routed(), says("x")]), epoch(7, [says("y"), said("y"), ends()])].concat();
    assert!(same_view(&unreset, &unreset).is_err());
    let other = [epoch(1, [routed(), says("x")]), epoch(7, [reset(), said(""), ends()])].concat();
    assert!(same_view(&other, &log()).is_err());
    assert!(same_view(&log()[..6], &log()).is_err(), "the end is missing");
}

#[test]
fn what_was_shown_and_is_gone_is_noticed_unless_the_store_forgot_it() {
    let shown = [epoch(1, [routed(), says("x"), said("x")]), log()[2..].to_vec()].concat();
    same_view(&shown, &log()).unwrap();
    assert!(nothing_lost(&shown, &log(), nowhere).is_err());
    nothing_lost(&shown, &log(), |event| event == EventId { epoch: 1, seq: 3 }).unwrap();
}

#[test]
fn what_nobody_told_the_client_is_noticed() {
    for place in [0, 1, 3, 4, 5, 6, 7] {
        assert!(nothing_missed(&without(seen(), place), &log()).is_err(), "without {place}");
    }
    let mut other = seen();
    other[4] = Arc::clone(&epoch(7, [reset(), says("no")])[1]);
    assert!(nothing_missed(&other, &log()).is_err(), "another text");
}
