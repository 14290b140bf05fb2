//! A turn as a hash of fields, and its events as entries of a stream.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::redis::{Call, Clock};
use crate::turnlog::{Idempotency, LogPage, LogUnavailable, Record};
use crate::words::{Event, EventId, TurnId};

/// Events of one entry when a whole turn is written: as many as a reader takes at once.
const ENTRY: usize = 256;

/// What is kept does not read as it should.
#[derive(Debug, thiserror::Error)]
#[error("the turn's {0} cannot be read")]
pub(super) struct Unreadable(pub(super) &'static str);

impl From<Unreadable> for LogUnavailable {
    fn from(error: Unreadable) -> Self {
        Self(error.into())
    }
}

/// One of our closed words (`running`, `deleted`) as its text.
pub(super) fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(_) | Err(_) => String::new(),
    }
}

pub(super) fn from_word<T: DeserializeOwned>(text: &str, what: &'static str) -> Result<T, Unreadable> {
    serde_json::from_value(text.into()).map_err(|_| Unreadable(what))
}

/// Adds the fields of a turn to a call. Times are written by Redis' clock.
pub(super) fn with_fields(call: Call, record: &Record, clock: &Clock) -> Call {
    let call = call
        .arg(&["conversation", &record.conversation.to_string(), "principal", &record.principal.to_string()])
        .arg(&["status", &word(&record.status), "epoch", &record.epoch.to_string()])
        .arg(&["owner", record.owner.as_ref().map_or("", |owner| owner.as_str())])
        .arg(&["last", &record.last.to_string(), "request", record.request.get()])
        .arg(&["deadline", &clock.shared(record.deadline).as_millis().to_string()])
        .arg(&["takeovers", &record.takeovers.to_string()]);
    let call = match record.cancel {
        Some(reason) => call.arg(&["cancel", &word(&reason)]),
        None => call,
    };
    match &record.idempotency {
        Some(Idempotency { key, body }) => call.arg("key").arg(&key[..]).arg("body").arg(&body[..]),
        None => call,
    }
}

/// Adds a batch: its last id, and all of it as a JSON array.
pub(super) fn with_batch(call: Call, batch: &[Arc<Event>]) -> Call {
    match batch.last() {
        Some(last) => call.arg(last.id.to_string()).arg(array(batch)),
        None => call.arg("").arg(""),
    }
}

/// Adds a whole log: how many entries, and each as a batch.
pub(super) fn with_log(call: Call, events: &[Arc<Event>]) -> Call {
    let entries = events.chunks(ENTRY);
    let call = call.arg(entries.len());
    entries.fold(call, with_batch)
}

/// A batch as a JSON array.
pub(super) fn array(batch: &[Arc<Event>]) -> Vec<u8> {
    let mut json = Vec::with_capacity(batch.iter().map(|event| event.size() + 1).sum::<usize>() + 2);
    json.push(b'[');
    for (nth, event) in batch.iter().enumerate() {
        json.extend_from_slice(if nth == 0 { b"" } else { b"," });
        json.extend_from_slice(event.json());
    }
    json.push(b']');
    json
}

/// The events of some entries above a position: inside the first one there may be some at or below it.
pub(super) fn events(entries: &[Vec<u8>], after: EventId) -> Result<Vec<Arc<Event>>, Unreadable> {
    let mut all = Vec::new();
    for entry in entries {
        let batch: Vec<Event> = serde_json::from_slice(entry).map_err(|_| Unreadable("log"))?;
        all.extend(batch.into_iter().filter(|event| event.id > after).map(Arc::new));
    }
    Ok(all)
}

/// What a read was answered.
pub(super) type Answer = (HashMap<String, Vec<u8>>, Vec<Vec<u8>>);

/// A turn and a part of its log, as it was read; `None` if it is not known.
pub(super) fn page(
    turn: TurnId,
    (fields, entries): Answer,
    after: EventId,
    clock: &Clock,
) -> Result<Option<LogPage>, Unreadable> {
    if !fields.contains_key("status") {
        return Ok(None);
    }
    Ok(Some(LogPage { record: record(turn, &Fields(&fields), clock)?, events: events(&entries, after)? }))
}

fn record(turn: TurnId, fields: &Fields<'_>, clock: &Clock) -> Result<Record, Unreadable> {
    let owner = fields.text("owner")?;
    let request = RawValue::from_string(fields.text("request")?.to_owned());
    Ok(Record {
        turn,
        conversation: fields.parsed("conversation")?,
        principal: fields.parsed("principal")?,
        status: from_word(fields.text("status")?, "status")?,
        epoch: fields.parsed("epoch")?,
        owner: if owner.is_empty() { None } else { Some(fields.parsed("owner")?) },
        last: fields.parsed("last")?,
        deadline: clock.own(crate::words::Timestamp::from_millis(fields.parsed("deadline")?)),
        request: request.map_err(|_| Unreadable("request"))?.into(),
        cancel: fields.text("cancel").ok().map(|text| from_word(text, "cancel")).transpose()?,
        takeovers: fields.parsed("takeovers")?,
        idempotency: fields
            .bytes("key")
            .zip(fields.bytes("body"))
            .map(|(key, body)| Idempotency { key, body }),
    })
}

struct Fields<'a>(&'a HashMap<String, Vec<u8>>);

impl Fields<'_> {
    fn text(&self, name: &'static str) -> Result<&str, Unreadable> {
        let bytes = self.0.get(name).ok_or(Unreadable(name))?;
        std::str::from_utf8(bytes).map_err(|_| Unreadable(name))
    }

    fn parsed<T: FromStr>(&self, name: &'static str) -> Result<T, Unreadable> {
        self.text(name)?.parse().map_err(|_| Unreadable(name))
    }

    fn bytes(&self, name: &str) -> Option<[u8; 32]> {
        self.0.get(name)?.as_slice().try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of the input are fields and their values, in turns; the last one is an entry of the log.
    #[test]
    fn fuzz_kept_turns() {
        let turn = TurnId::new(crate::words::new_ulid(1), &"talk".parse().unwrap());
        let start = EventId { epoch: 1, seq: 1 };
        crate::fuzz::run("kept_turns", |bytes| {
            let lines: Vec<_> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            let name = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
            let pairs = lines.chunks_exact(2).map(|pair| (name(&pair[0]), pair[1].clone()));
            let entries: Vec<_> = lines.last().cloned().into_iter().collect();
            if let Ok(Some(found)) = page(turn, (pairs.collect(), entries), start, &Clock::default()) {
                assert!(found.events.iter().all(|event| event.id > start));
                let printed = array(&found.events);
                assert_eq!(events(&[printed], start).unwrap().len(), found.events.len());
                crate::turnlog::fold(&found.record, &found.events);
            }
        });
    }
}
