//! What a client may have seen, and what nobody may.

use serde_json::json;

use crate::support::SseEvent;
use crate::support::replicas::faults;

/// Events written as `1-3 reply.delta guide text`.
fn events(lines: &[&str]) -> Vec<SseEvent> {
    let event = |line: &&str| {
        let mut words = line.splitn(4, ' ');
        let [id, name, persona, text] = [(); 4].map(|()| words.next());
        let (id, name) = (id.unwrap(), name.unwrap());
        let data = json!({"id": id, "type": name, "persona": persona, "text": text, "content": text});
        SseEvent { id: id.into(), name: name.into(), data }
    };
    lines.iter().map(event).collect()
}

const BEGUN: [&str; 3] = ["1-1 turn.started", "1-2 reply.started guide", "1-3 reply.delta guide Once"];

/// What the second owner wrote.
const GOES_ON: [&str; 5] = [
    "7-1 reply.reset guide",
    "7-2 reply.started guide",
    "7-3 reply.delta guide Never",
    "7-4 reply.completed guide Never",
    "7-5 turn.completed",
];

fn log() -> Vec<SseEvent> {
    events(&[&BEGUN[..], &GOES_ON].concat())
}

#[test]
fn the_log_itself_is_right() {
    assert_eq!(faults(&log(), &log()), [""; 0]);
}

#[test]
fn pieces_that_the_dead_owner_did_not_write_are_right() {
    let unseen_tail = ["1-4 reply.delta guide upon", "1-5 reply.started skeptic"];
    let seen = events(&[&BEGUN[..], &unseen_tail, &GOES_ON].concat());
    // The reset is of every reply not durably finished, whether it had begun for the log or not.
    let resets = ["7-1 reply.reset guide", "7-2 reply.reset skeptic", "7-3 turn.completed"];
    assert!(!faults(&seen, &log()).is_empty(), "the skeptic is left over");
    let seen = events(&[&BEGUN[..], &unseen_tail, &resets].concat());
    assert_eq!(faults(&seen, &events(&[&BEGUN[..], &resets].concat())), [""; 0]);
}

#[test]
fn everything_else_is_found() {
    let whole = log();
    let without = |place: usize| [&whole[..place], &whole[place + 1..]].concat();
    for place in 0..whole.len() {
        assert!(!faults(&without(place), &whole).is_empty(), "{place} was not seen");
        // The last piece of a dead owner may be missing: that is the unseen tail.
        let is_tail = whole[place].id == "1-3";
        assert_eq!(faults(&whole, &without(place)).is_empty(), is_tail, "{place} is not in the log");
        let twice = [&whole[..=place], &whole[place..]].concat();
        assert!(!faults(&twice, &whole).is_empty(), "{place} was seen twice");
        let mut other = whole.clone();
        other[place].data["text"] = "another".into();
        assert!(!faults(&other, &whole).is_empty(), "{place} was seen otherwise");
        if place > 0 {
            let mut swapped = whole.clone();
            swapped.swap(place - 1, place);
            assert!(!faults(&swapped, &whole).is_empty(), "{place} was seen too early");
        }
    }
    // An end that only its owner knew of.
    let lost = events(&[&BEGUN[..], &["1-4 reply.completed guide Once"], &GOES_ON].concat());
    assert!(!faults(&lost, &whole).is_empty());
    // Pieces of an epoch that goes on.
    let more = events(&[&BEGUN[..], &GOES_ON, &["7-6 reply.delta guide more"]].concat());
    assert!(!faults(&more, &whole).is_empty());
}
