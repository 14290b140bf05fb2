//! What must be true of every client's view, by the rule that clients are given: `reply.reset` means forget all of this
//! reply.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use polylogue::words::{Event, EventBody, EventId, PersonaId};

use super::client::told;

pub type Verdict = Result<(), String>;

/// One reply as a client has it in front of it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Said {
    text: String,
    end: Option<EventBody>,
}

/// A turn as a client has it in front of it.
#[derive(Debug, Default, PartialEq)]
pub struct View {
    routing: Option<EventBody>,
    replies: BTreeMap<PersonaId, Said>,
    end: Option<EventBody>,
}

/// What is left of these events when resets are applied. Choosing the personas begins all replies anew, as in the product's
/// own fold: when the first choice did not become durable, nobody knows which replies to reset. A reply's whole text is what its pieces said since its last reset.
pub fn view(events: &[Arc<Event>]) -> Result<View, String> {
    let mut view = View::default();
    for event in events {
        view.take_in(event)?;
    }
    Ok(view)
}

impl View {
    fn take_in(&mut self, event: &Event) -> Verdict {
        match &event.body {
            EventBody::TurnStarted { .. } => {}
            EventBody::RoutingDecided { .. } => {
                self.routing = Some(event.body.clone());
                self.replies.clear();
            }
            EventBody::ReplyStarted { persona } => drop(self.reply(persona)),
            EventBody::ReplyDelta { persona, text } => {
                let reply = self.reply(persona);
                if reply.end.is_some() {
                    return Err(format!("{} goes on after its end", told(event)));
                }
                reply.text.push_str(text);
            }
            EventBody::ReplyReset { persona, .. } => drop(self.replies.remove(persona)),
            EventBody::ReplyCompleted { persona, content, .. }
            | EventBody::ReplyCancelled { persona, content, .. } => {
                let reply = self.reply(persona);
                if reply.text != *content {
                    return Err(format!("{}: the pieces before it say {:?}", told(event), reply.text));
                }
                reply.end = Some(event.body.clone());
            }
            EventBody::ReplyFailed { persona, .. } => self.reply(persona).end = Some(event.body.clone()),
            EventBody::TurnCompleted { .. }
            | EventBody::TurnFailed { .. }
            | EventBody::TurnCancelled { .. } => self.end = Some(event.body.clone()),
        }
        Ok(())
    }

    fn reply(&mut self, persona: &PersonaId) -> &mut Said {
        self.replies.entry(persona.clone()).or_default()
    }
}

/// Ids grow, each epoch is counted from 1 without gaps, and exactly one event, the last, ends the turn.
pub fn in_order(events: &[Arc<Event>]) -> Verdict {
    let mut last = EventId::START;
    for event in events {
        let id = event.id;
        let follows = if id.epoch == last.epoch { id.seq == last.seq + 1 } else { id.seq == 1 };
        if id <= last || !follows {
            return Err(format!("{id} comes after {last}"));
        }
        last = id;
    }
    let ends: Vec<_> = events.iter().filter(|event| event.body.is_terminal()).collect();
    match (ends.as_slice(), events.last()) {
        ([end], Some(last)) if Arc::ptr_eq(end, last) => Ok(()),
        _ => Err(format!("{} events end the turn, the last is {:?}", ends.len(), events.last())),
    }
}

/// With resets applied, both say the same.
pub fn same_view(seen: &[Arc<Event>], log: &[Arc<Event>]) -> Verdict {
    let (seen, log) = (view(seen)?, view(log).map_err(|error| format!("the log itself: {error}"))?);
    if seen == log { Ok(()) } else { Err(format!("a client sees {seen:?}, the log tells {log:?}")) }
}

/// Whether both are the same. How a turn begins may be told in two ways: when the answer to its `accept` got lost, the owner
/// begins it as one without shared state, and some may have read what the log had.
fn same_event(one: &EventBody, other: &EventBody) -> bool {
    let both_start = matches!((one, other), (EventBody::TurnStarted { .. }, EventBody::TurnStarted { .. }));
    one == other || both_start
}

/// The client saw all of the log.
pub fn nothing_missed(seen: &[Arc<Event>], log: &[Arc<Event>]) -> Verdict {
    let by_id: BTreeMap<_, _> = seen.iter().map(|event| (event.id, event)).collect();
    for event in log {
        match by_id.get(&event.id) {
            None => return Err(format!("nobody told the client of {}", told(event))),
            Some(other) if !same_event(&other.body, &event.body) => {
                return Err(format!("{} was shown as {}", told(event), told(other)));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// What the client saw is in the log, beside pieces of replies nobody had finished, and what the store forgot.
pub fn nothing_lost(seen: &[Arc<Event>], log: &[Arc<Event>], is_lost: impl Fn(EventId) -> bool) -> Verdict {
    let logged: BTreeSet<_> = log.iter().map(|event| event.id).collect();
    let more =
        |event: &&Arc<Event>| !logged.contains(&event.id) && !event.body.is_delta() && !is_lost(event.id);
    match seen.iter().find(more) {
        Some(event) => Err(format!("{} was shown and is not in the log", told(event))),
        None => Ok(()),
    }
}
