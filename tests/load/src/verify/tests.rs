use serde_json::{Value, json};

use super::*;

/// A turn of two personas whose replies interleave.
fn recorded() -> Vec<Value> {
    let mut events = vec![
        json!({"type": "turn.started", "conversation": {"id": "c", "created": true}, "message_id": "m"}),
        json!({"type": "routing.decided", "routing": {"personas": ["a", "b"], "source": "explicit"}}),
        json!({"type": "reply.started", "persona": "a"}),
        json!({"type": "reply.started", "persona": "b"}),
        json!({"type": "reply.delta", "persona": "a", "text": "Once "}),
        json!({"type": "reply.delta", "persona": "b", "text": "Two "}),
        json!({"type": "reply.delta", "persona": "a", "text": "\"more\""}),
        json!({"type": "reply.completed", "persona": "a", "content": "Once \"more\""}),
        json!({"type": "reply.delta", "persona": "b", "text": "three"}),
        json!({"type": "reply.completed", "persona": "b", "content": "Two three"}),
        json!({"type": "turn.completed"}),
    ];
    for (at, event) in events.iter_mut().enumerate() {
        event["id"] = format!("1-{}", at + 1).into();
        event["turn_id"] = "t".into();
    }
    events
}

fn judged(events: &[Value]) -> (Result<(), Fault>, Flaws) {
    let mut check = TurnCheck::default();
    for event in events {
        let text = event.to_string();
        if let Err(fault) = check.take(&serde_json::from_str(&text).unwrap()) {
            return (Err(fault), check.finish().1);
        }
    }
    check.finish()
}

#[test]
fn a_sound_turn_has_no_flaw() {
    assert_eq!(judged(&recorded()), (Ok(()), Flaws::default()));
}

#[test]
fn every_event_that_is_lost_is_noticed() {
    let whole = recorded();
    for lost in 0..whole.len() - 1 {
        let mut events = whole.clone();
        events.remove(lost);
        assert_eq!(judged(&events).1.lost, 1, "without event {lost}");
    }
}

#[test]
fn a_stream_without_its_last_event_is_truncated() {
    let whole = recorded();
    for kept in 0..whole.len() {
        assert_eq!(judged(&whole[..kept]).0, Err(TRUNCATED), "with {kept} events");
    }
}

#[test]
fn every_event_that_comes_twice_is_noticed_and_counts_once() {
    let whole = recorded();
    for twice in 0..whole.len() {
        let mut events = whole.clone();
        events.insert(twice, whole[twice].clone());
        let flaws = judged(&events).1;
        assert_eq!(flaws.doubled + flaws.after_end, 1, "event {twice} twice");
        assert_eq!(flaws.wrong_texts, 0, "a doubled piece is not added");
    }
}

#[test]
fn two_events_that_change_places_are_noticed() {
    let whole = recorded();
    for at in 0..whole.len() - 2 {
        let mut events = whole.clone();
        events.swap(at, at + 1);
        let flaws = judged(&events).1;
        assert_eq!((flaws.reordered, flaws.lost), (1, 0), "events {at} and {}", at + 1);
    }
}

#[test]
fn a_text_that_differs_is_noticed() {
    for (at, member) in [(4, "text"), (6, "text"), (8, "text"), (7, "content"), (9, "content")] {
        let mut events = recorded();
        events[at][member] = "something else".into();
        assert_eq!(judged(&events).1, Flaws { wrong_texts: 1, ..Flaws::default() }, "event {at}");
    }
}

#[test]
fn an_event_of_another_turn_and_an_end_after_the_end_are_noticed() {
    let mut events = recorded();
    events[5]["turn_id"] = "other".into();
    assert_eq!(judged(&events).1.wrong_frames, 1);

    let mut events = recorded();
    events.push(json!({"type": "turn.completed", "id": "1-12", "turn_id": "t"}));
    assert_eq!(judged(&events).1.after_end, 1);
}

#[test]
fn a_reply_that_never_ends_is_noticed() {
    let mut events = recorded();
    events[9] = json!({"type": "reply.delta", "persona": "b", "text": "", "id": "1-10", "turn_id": "t"});
    assert_eq!(judged(&events).1.wrong_texts, 1);
}

#[test]
fn a_takeover_starts_a_reply_over_and_is_no_flaw() {
    let mut events = recorded()[..6].to_vec();
    let epoch_two = [
        json!({"type": "reply.reset", "persona": "a", "reason": "takeover"}),
        json!({"type": "reply.reset", "persona": "b", "reason": "takeover"}),
        json!({"type": "reply.delta", "persona": "a", "text": "Anew"}),
        json!({"type": "reply.completed", "persona": "a", "content": "Anew"}),
        json!({"type": "reply.completed", "persona": "b", "content": ""}),
        json!({"type": "turn.completed"}),
    ];
    events.extend(epoch_two.into_iter().enumerate().map(|(at, mut event)| {
        event["id"] = format!("1795460442000-{}", at + 1).into();
        event["turn_id"] = "t".into();
        event
    }));
    assert_eq!(judged(&events), (Ok(()), Flaws::default()));

    events.remove(6);
    assert_eq!(judged(&events).1.lost, 1, "the first event of the new epoch");
}

#[test]
fn a_failed_reply_makes_a_completed_turn_a_failure_by_its_code() {
    let mut events = recorded();
    events[9] = json!({"type": "reply.failed", "persona": "b", "id": "1-10", "turn_id": "t",
        "error": {"code": "model_timeout", "status": 504}});
    assert_eq!(judged(&events).0, Err(Fault::answered(504, Some("model_timeout"))));
}
