use std::collections::BTreeMap;

use super::super::SseEvent;
use super::applied;

/// What a client saw of a turn, from wherever it was.
#[derive(Debug, Default)]
pub struct Tale {
    pub turn: String,
    pub seen: Vec<SseEvent>,
    /// How often it came to a replica that answered.
    pub visits: usize,
    /// How often it was turned away, by reason.
    pub turned_away: BTreeMap<String, usize>,
}

impl Tale {
    /// Whether it saw how the turn ended.
    pub fn has_ended(&self) -> bool {
        self.seen.last().is_some_and(is_end)
    }

    /// Its position.
    pub fn last_id(&self) -> &str {
        self.seen.last().map_or("0-0", |event| &event.id)
    }

    /// Fails unless it is what the log says, to the last event.
    pub fn must_agree_with(&self, log: &[SseEvent]) {
        let faults = faults(&self.seen, log);
        assert!(
            faults.is_empty(),
            "{faults:#?}\nturned away: {:?}\nseen: {:#?}",
            self.turned_away,
            self.seen
        );
    }
}

/// What is wrong with what a client saw, compared with the log of the turn read from its start.
///
/// Beside the log it may have seen beginnings and pieces of replies that the owner showed and did not write before it
/// died: then the next epoch follows, and after applying resets both say the same.
pub fn faults(seen: &[SseEvent], log: &[SseEvent]) -> Vec<String> {
    let mut faults = Vec::new();
    for (who, events) in [("the client", seen), ("the log", log)] {
        faults.extend(out_of_order(events).map(|fault| format!("{who}: {fault}")));
        faults.extend(ends_wrongly(events).map(|fault| format!("{who}: {fault}")));
    }
    let (in_log, was_seen) = (by_id(log), by_id(seen));
    for event in log.iter().filter(|event| was_seen.get(event.id.as_str()) != Some(event)) {
        faults.push(format!("the client did not see {} ({}) as it is", event.id, event.name));
    }
    let last_epoch = log.last().and_then(position).unwrap_or_default().0;
    for event in seen.iter().filter(|event| in_log.get(event.id.as_str()) != Some(event)) {
        let was_replaced = position(event).is_some_and(|(epoch, _)| epoch < last_epoch);
        if !was_replaced || !matches!(event.name.as_str(), "reply.started" | "reply.delta") {
            faults.push(format!("the log does not have {} ({})", event.id, event.name));
        }
    }
    if applied(seen) != applied(log) {
        faults.push("after applying resets they differ".into());
    }
    faults
}

/// Which event has an id; that none has it twice is seen by their order.
fn by_id(events: &[SseEvent]) -> BTreeMap<&str, &SseEvent> {
    events.iter().map(|event| (event.id.as_str(), event)).collect()
}

fn position(event: &SseEvent) -> Option<(u64, u64)> {
    let (epoch, seq) = event.id.split_once('-')?;
    Some((epoch.parse().ok()?, seq.parse().ok()?))
}

/// Within an epoch each number follows the one before, and a later epoch begins with 1.
fn out_of_order(events: &[SseEvent]) -> impl Iterator<Item = String> {
    let before = [None].into_iter().chain(events.iter().map(Some));
    before.zip(events).filter_map(|(before, event)| {
        let (epoch, seq) = position(event).unwrap_or_default();
        let (old_epoch, old_seq) = before.and_then(position).unwrap_or_default();
        let follows = if epoch == old_epoch { seq == old_seq + 1 } else { epoch > old_epoch && seq == 1 };
        let name = before.map_or("nothing", |before| &before.id);
        (!follows).then(|| format!("{} after {name}", event.id))
    })
}

fn ends_wrongly(events: &[SseEvent]) -> Option<String> {
    let ends: Vec<_> = events.iter().filter(|event| is_end(event)).map(|event| event.id.as_str()).collect();
    let is_right = ends.len() == 1 && events.last().is_some_and(is_end);
    (!is_right).then(|| format!("it ends at {ends:?}, with {} events in all", events.len()))
}

fn is_end(event: &SseEvent) -> bool {
    matches!(event.name.as_str(), "turn.completed" | "turn.failed" | "turn.cancelled")
}
