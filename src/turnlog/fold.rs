//! The fold of a log: the turn as a client reads it, and the checkpoint from which another owner goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::Record;
use crate::words::{
    ConversationRef, Event, EventBody, EventId, Message, PersonaId, Reply, ReplyStatus, Role, Routing,
    Timestamp, Turn, TurnStatus, Usage,
};

/// The turn that these events tell of, from the first one on.
pub fn fold<'a>(record: &Record, events: impl IntoIterator<Item = &'a Arc<Event>>) -> Turn {
    let mut fold = Fold::new(record);
    for event in events {
        fold.apply(event);
    }
    fold.into_turn()
}

/// A turn that grows event by event.
#[derive(Clone, Debug)]
pub struct Fold {
    turn: Turn,
}

/// What a turn's view needs of its request; the request's own type belongs to the chat service.
#[derive(Default, Deserialize)]
struct Asked {
    #[serde(default)]
    message: String,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

impl Fold {
    /// The turn before its first event.
    pub fn new(record: &Record) -> Self {
        let asked: Asked = serde_json::from_str(record.request.get()).unwrap_or_default();
        let created_at = Timestamp::from_millis(record.turn.started_ms());
        let message = Message {
            id: record.turn.user_message(),
            role: Role::User,
            persona: None,
            content: asked.message,
            created_at,
            cancelled: false,
        };
        let turn = Turn {
            turn_id: record.turn,
            conversation: ConversationRef { id: record.conversation.id().clone(), created: false },
            status: TurnStatus::Running,
            created_at,
            ended_at: None,
            last_event_id: EventId::START,
            message,
            routing: None,
            replies: Vec::new(),
            usage: None,
            error: None,
            cancel_reason: None,
            degraded: false,
            metadata: asked.metadata,
        };
        Self { turn }
    }

    /// The turn so far.
    pub fn turn(&self) -> &Turn {
        &self.turn
    }

    /// The turn so far.
    pub fn into_turn(self) -> Turn {
        self.turn
    }

    /// Takes in the next event.
    pub fn apply(&mut self, event: &Event) {
        self.turn.last_event_id = event.id;
        match &event.body {
            EventBody::TurnStarted { conversation, message_id, degraded } => {
                self.turn.conversation = conversation.clone();
                self.turn.message.id = *message_id;
                self.turn.message.created_at = event.time;
                self.turn.created_at = event.time;
                self.turn.degraded = *degraded;
            }
            EventBody::RoutingDecided { routing } => self.routed(routing),
            EventBody::ReplyStarted { persona } => self.reply(persona).status = ReplyStatus::Running,
            EventBody::ReplyDelta { persona, text } => {
                let reply = self.reply(persona);
                reply.status = ReplyStatus::Running;
                reply.content.push_str(text);
            }
            EventBody::ReplyReset { persona, reason: _ } => {
                *self.reply(persona) = Reply::pending(persona.clone());
            }
            EventBody::ReplyCompleted { persona, message_id, content, finish_reason, model, usage } => {
                *self.reply(persona) = Reply {
                    persona: persona.clone(),
                    status: ReplyStatus::Completed,
                    message_id: Some(*message_id),
                    content: content.clone(),
                    finish_reason: Some(finish_reason.clone()),
                    model: model.clone(),
                    usage: *usage,
                    error: None,
                };
            }
            EventBody::ReplyFailed { persona, error } => {
                let reply = self.reply(persona);
                reply.status = ReplyStatus::Failed;
                reply.error = Some(error.clone());
            }
            EventBody::ReplyCancelled { persona, message_id, content } => {
                let reply = self.reply(persona);
                reply.status = ReplyStatus::Cancelled;
                reply.message_id = *message_id;
                reply.content.clone_from(content);
            }
            EventBody::TurnCompleted { usage } => self.ended(event, TurnStatus::Completed, *usage),
            EventBody::TurnFailed { error } => {
                for reply in self.unfinished() {
                    (reply.status, reply.error) = (ReplyStatus::Failed, Some(error.clone()));
                }
                self.turn.error = Some(error.clone());
                self.ended(event, TurnStatus::Failed, None);
            }
            EventBody::TurnCancelled { reason } => {
                self.unfinished().for_each(|reply| reply.status = ReplyStatus::Cancelled);
                self.turn.cancel_reason = Some(*reason);
                self.ended(event, TurnStatus::Cancelled, None);
            }
        }
    }

    fn routed(&mut self, routing: &Routing) {
        self.turn.replies = routing.personas.iter().cloned().map(Reply::pending).collect();
        self.turn.routing = Some(routing.clone());
    }

    fn ended(&mut self, event: &Event, status: TurnStatus, usage: Option<Usage>) {
        self.turn.status = status;
        self.turn.ended_at = Some(event.time);
        self.turn.usage = usage.or_else(|| Usage::sum(self.turn.replies.iter().filter_map(|r| r.usage)));
    }

    /// The replies that have not ended. One that was never begun, or whose end nobody wrote, ends with its turn.
    fn unfinished(&mut self) -> impl Iterator<Item = &mut Reply> {
        self.turn.replies.iter_mut().filter(|reply| !reply.status.is_terminal())
    }

    fn reply(&mut self, persona: &PersonaId) -> &mut Reply {
        let replies = &mut self.turn.replies;
        let place = replies.iter().position(|reply| reply.persona == *persona).unwrap_or_else(|| {
            replies.push(Reply::pending(persona.clone()));
            replies.len() - 1
        });
        &mut replies[place]
    }
}

/// The chosen personas whose reply has not ended, started or not: what a takeover resets.
pub(super) fn unfinished(record: &Record, events: &[Arc<Event>]) -> Vec<PersonaId> {
    let replies = fold(record, events).replies;
    replies.into_iter().filter(|reply| !reply.status.is_terminal()).map(|reply| reply.persona).collect()
}

/// How a turn stands after this event, if the event ends it.
pub(super) fn end_of(event: &Event) -> Option<TurnStatus> {
    match event.body {
        EventBody::TurnCompleted { .. } => Some(TurnStatus::Completed),
        EventBody::TurnFailed { .. } => Some(TurnStatus::Failed),
        EventBody::TurnCancelled { .. } => Some(TurnStatus::Cancelled),
        EventBody::TurnStarted { .. }
        | EventBody::RoutingDecided { .. }
        | EventBody::ReplyStarted { .. }
        | EventBody::ReplyDelta { .. }
        | EventBody::ReplyReset { .. }
        | EventBody::ReplyCompleted { .. }
        | EventBody::ReplyFailed { .. }
        | EventBody::ReplyCancelled { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{ClientAddress, Principal};

    const TURN: &str = "01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2";

    fn record() -> Record {
        let request = r#"{"message":"was Troy real?","metadata":{"ui":"web"},"on_busy":"reject"}"#.to_owned();
        Record {
            turn: TURN.parse().unwrap(),
            conversation: "team-42".parse().unwrap(),
            principal: Principal::Address(ClientAddress::from(std::net::IpAddr::from([192, 0, 2, 7]))),
            status: TurnStatus::Running,
            epoch: 1,
            owner: None,
            last: EventId::START,
            deadline: Timestamp::from_millis(0),
            request: serde_json::value::RawValue::from_string(request).unwrap().into(),
            cancel: None,
            takeovers: 0,
            idempotency: None,
        }
    }

    /// Folds events given by their own members; ids and times are added.
    fn folded(bodies: &[&str]) -> serde_json::Value {
        let mut fold = Fold::new(&record());
        for (body, seq) in bodies.iter().zip(1..) {
            let id = EventId { epoch: 1, seq };
            fold.apply(&Event::new(id, TURN.parse().unwrap(), serde_json::from_str(body).unwrap()));
        }
        serde_json::to_value(fold.turn()).unwrap()
    }

    const STARTED: &str = r#"{"type":"turn.started","conversation":{"id":"team-42","created":false},"message_id":"01KASQ6W8V3Z0Q4T5Y7M2N9PBD"}"#;
    const ROUTED: &str = r#"{"type":"routing.decided","routing":{"personas":["historian","skeptic"],"source":"explicit","reason":"asked for"}}"#;
    const SAYS: &str = r#"{"type":"reply.delta","persona":"skeptic","text":"I would"}"#;
    const RESET: &str = r#"{"type":"reply.reset","persona":"skeptic","reason":"takeover"}"#;
    const COMPLETED: &str = r#"{"type":"reply.completed","persona":"historian","message_id":"01KASQ6Z1D8R6E0W3K5J7H2GFA","content":"Yes.","finish_reason":"stop","usage":{"input_tokens":5,"output_tokens":2,"total_tokens":7}}"#;
    const CANCELLED: &str = r#"{"type":"reply.cancelled","persona":"skeptic","content":"I would"}"#;
    const FAILED: &str = r#"{"type":"reply.failed","persona":"skeptic","error":{"code":"model_timeout","detail":"Too slow."}}"#;
    const ENDED: &str = r#"{"type":"turn.cancelled","reason":"requested"}"#;

    #[test]
    fn a_turn_is_what_its_events_say() {
        let turn = folded(&[STARTED, ROUTED, SAYS, COMPLETED, CANCELLED, ENDED]);
        assert_eq!(turn["status"], "cancelled");
        assert_eq!(turn["cancel_reason"], "requested");
        assert_eq!(turn["last_event_id"], "1-6");
        assert_eq!(turn["message"]["content"], "was Troy real?");
        assert_eq!(turn["message"]["id"], "01KASQ6W8V3Z0Q4T5Y7M2N9PBD");
        assert_eq!(turn["metadata"]["ui"], "web");
        let (historian, skeptic) = (&turn["replies"][0], &turn["replies"][1]);
        assert_eq!((&historian["status"], &historian["content"]), (&"completed".into(), &"Yes.".into()));
        assert_eq!((&skeptic["status"], &skeptic["content"]), (&"cancelled".into(), &"I would".into()));
        assert_eq!(turn["usage"]["total_tokens"], 7);
        assert!(turn["ended_at"].is_string());
    }

    #[test]
    fn a_turn_that_runs_says_nothing_of_its_end() {
        let turn = folded(&[STARTED, ROUTED, SAYS, SAYS, FAILED]);
        assert_eq!(turn["status"], "running");
        assert_eq!((&turn["ended_at"], &turn["usage"]), (&().into(), &().into()));
        assert_eq!(turn["replies"][0]["status"], "pending");
        assert_eq!(turn["replies"][1]["error"]["code"], "model_timeout");
    }

    #[test]
    fn a_reset_forgets_all_of_one_reply() {
        let turn = folded(&[STARTED, ROUTED, SAYS, COMPLETED, FAILED, RESET, SAYS]);
        assert_eq!(turn["replies"][0]["status"], "completed");
        let skeptic = serde_json::json!({"persona": "skeptic", "status": "running", "content": "I would"});
        assert_eq!(turn["replies"][1], skeptic);
    }
}
