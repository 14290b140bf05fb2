//! Turns, events and replicas for the tests of the turn log.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use polylogue::config::{Config, Span, Turns};
use polylogue::shutdown::Shutdown;
use polylogue::telemetry::metrics::Metrics;
use polylogue::turnlog::{
    Accepted, Claim, Live, LiveTurns, LocalTurnLog, LogPage, NewTurn, Reader, TakenOver, TurnLog, fold,
};
use polylogue::words::{
    ClientAddress, ConversationKey, ConversationRef, ErrorCode, Event, EventBody, EventId, Failure,
    PersonaId, Principal, ReplicaId, Routing, RoutingSource, Timestamp, Turn, TurnId, new_ulid,
};
use tokio_util::sync::CancellationToken;

pub const RETENTION: Duration = Duration::from_millis(300);

pub fn settings() -> Turns {
    Config::default().turns
}

/// Ended turns are forgotten soon, so that a test can wait for it.
pub fn short_lived() -> Turns {
    Turns { retention: Span(RETENTION), ..settings() }
}

/// A log that replicas of one test share.
pub fn shared_log() -> Arc<dyn TurnLog> {
    Arc::new(LocalTurnLog::new(settings()))
}

pub fn id(epoch: u64, seq: u64) -> EventId {
    EventId { epoch, seq }
}

pub fn replica(name: &str) -> ReplicaId {
    name.parse().unwrap()
}

pub fn persona(name: &str) -> PersonaId {
    name.parse().unwrap()
}

/// A turn of replica `owner` in `conversation`.
pub fn new_turn(conversation: &str, owner: &str) -> NewTurn {
    let conversation = conversation.parse().unwrap();
    let now = Timestamp::now().as_millis();
    let turn = TurnId::new(new_ulid(now), &conversation);
    let started = EventBody::TurnStarted {
        conversation: ConversationRef { id: conversation.id().clone(), created: true },
        message_id: turn.user_message(),
        degraded: false,
    };
    let request = r#"{"message":"was Troy real?","metadata":{"ui":"web"}}"#.to_owned();
    NewTurn {
        turn,
        conversation,
        principal: Principal::Address(ClientAddress::from(IpAddr::from([192, 0, 2, 7]))),
        owner: replica(owner),
        deadline: Timestamp::from_millis(now + 120_000),
        request: serde_json::value::RawValue::from_string(request).unwrap().into(),
        first: Arc::new(Event::new(id(1, 1), turn, started)),
        idempotency: None,
    }
}

/// The same, asked by somebody.
pub fn new_turn_of(principal: &str, conversation: &str, owner: &str) -> NewTurn {
    let principal: Principal = principal.parse().unwrap();
    let key = ConversationKey::of(&principal, &conversation.parse().unwrap());
    let turn = NewTurn { principal, ..new_turn(&key.to_string(), owner) };
    assert_eq!(turn.conversation, key);
    turn
}

pub fn routed(personas: &[&str]) -> EventBody {
    let personas = personas.iter().map(|name| persona(name)).collect();
    EventBody::RoutingDecided {
        routing: Routing { personas, source: RoutingSource::Explicit, reason: "asked for".into() },
    }
}

pub fn started(name: &str) -> EventBody {
    EventBody::ReplyStarted { persona: persona(name) }
}

pub fn delta(name: &str, text: &str) -> EventBody {
    EventBody::ReplyDelta { persona: persona(name), text: text.into() }
}

pub fn completed(name: &str, content: &str) -> EventBody {
    EventBody::ReplyCompleted {
        persona: persona(name),
        message_id: new_turn("any", "any").turn.reply_message(0),
        content: content.into(),
        finish_reason: "stop".into(),
        model: None,
        usage: None,
    }
}

pub fn failed(name: &str) -> EventBody {
    EventBody::ReplyFailed {
        persona: persona(name),
        error: Failure::new(ErrorCode::ModelTimeout, "Too slow."),
    }
}

pub fn ended() -> EventBody {
    EventBody::TurnCompleted { usage: None }
}

/// Events of `claim`'s epoch, numbered from `seq`.
pub fn batch(claim: &Claim, seq: u64, bodies: impl IntoIterator<Item = EventBody>) -> Vec<Arc<Event>> {
    let numbered = bodies.into_iter().zip(seq..);
    numbered.map(|(body, seq)| Arc::new(Event::new(id(claim.epoch, seq), claim.turn, body))).collect()
}

pub async fn accept(log: &dyn TurnLog, turn: &NewTurn) -> Claim {
    let accepted = log.accept(turn.clone()).await.unwrap();
    let Accepted::Ok(claim) = accepted else { panic!("not accepted: {accepted:?}") };
    claim
}

pub async fn take_over(log: &dyn TurnLog, turn: TurnId, epoch: u64, owner: &str) -> (Claim, LogPage) {
    let taken = log.take_over(turn, epoch, &replica(owner)).await.unwrap();
    let TakenOver::Ok { claim, page } = taken else { panic!("not taken over: {taken:?}") };
    (claim, page)
}

pub async fn whole(log: &dyn TurnLog, turn: TurnId) -> LogPage {
    log.read(turn, EventId::START, usize::MAX).await.unwrap().unwrap()
}

/// The whole turn, whatever one look shows of it.
pub async fn whole_by_pages(log: &dyn TurnLog, turn: TurnId) -> LogPage {
    let mut page = whole(log, turn).await;
    while let Some(last) = page.events.last().map(|event| event.id).filter(|last| *last < page.record.last) {
        let more = log.read(turn, last, usize::MAX).await.unwrap().unwrap();
        assert!(!more.events.is_empty());
        page.events.extend(more.events);
    }
    page
}

pub async fn view(log: &dyn TurnLog, turn: TurnId) -> Turn {
    let page = whole(log, turn).await;
    fold(&page.record, &page.events)
}

/// One process: the turns it owns, over a log it shares with others.
pub struct Replica {
    pub name: &'static str,
    pub turns: Arc<LiveTurns>,
    pub metrics: Arc<Metrics>,
}

impl Replica {
    pub fn new(name: &'static str, log: &Arc<dyn TurnLog>) -> Self {
        Self::with(name, log, settings())
    }

    pub fn with(name: &'static str, log: &Arc<dyn TurnLog>, settings: Turns) -> Self {
        let metrics = Arc::new(Metrics::new());
        let turns = LiveTurns::new(Arc::clone(log), settings, Arc::clone(&metrics), Shutdown::new());
        Self { name, turns, metrics }
    }

    /// Accepts a turn and begins to run it.
    pub async fn start(&self, conversation: &str) -> (Arc<Live>, CancellationToken) {
        let turn = new_turn(conversation, self.name);
        let place = self.turns.try_reserve().unwrap();
        let claim = accept(self.turns.log().as_ref(), &turn).await;
        let cancel = CancellationToken::new();
        (self.turns.begin(place, claim, turn.page(), cancel.clone()), cancel)
    }

    /// Takes a turn over and begins to run it.
    pub async fn take_over(&self, turn: TurnId, epoch: u64) -> (Arc<Live>, LogPage) {
        let (claim, page) = take_over(self.turns.log().as_ref(), turn, epoch, self.name).await;
        let place = self.turns.try_reserve().unwrap();
        (self.turns.begin(place, claim, page.clone(), CancellationToken::new()), page)
    }

    pub async fn open(&self, turn: TurnId, after: EventId) -> Reader {
        self.turns.open(turn, Some(after)).await.unwrap().unwrap()
    }
}

/// Everything a reader has still to see.
pub async fn rest(mut reader: Reader) -> Vec<Arc<Event>> {
    let mut seen = Vec::new();
    while let Some(event) = next(&mut reader).await {
        seen.push(event);
    }
    seen
}

/// The next event; a reader that waits for ever fails its test instead of hanging it.
pub async fn next(reader: &mut Reader) -> Option<Arc<Event>> {
    let next = tokio::time::timeout(Duration::from_secs(600), reader.next()).await;
    next.expect("the reader hears nothing any more").unwrap()
}
