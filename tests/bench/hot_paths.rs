//! What a token costs on its way from the model to a reader, one part at a time.
//!
//! A figure alone says something of the machine; what is looked at is the ratio of two runs on the same one:
//! `cargo bench -p polylogue-bench -- --save-baseline before`, then `-- --baseline before` with the change.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot run has nothing to say")]

use std::convert::Infallible;
use std::fmt;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use polylogue::chat::ChatError;
use polylogue::config::{Config, Scope, Span, Strategy, Turns};
use polylogue::graph::{Context, Graph, NoCheckpoints, Node, Start, State};
use polylogue::http::sse::{EventStream, Source, Surroundings};
use polylogue::limits::{Check, Limiter, LocalLimiter, Policy};
use polylogue::resilience::Breaker;
use polylogue::shutdown::Shutdown;
use polylogue::telemetry::metrics::Metrics;
use polylogue::turnlog::{Accepted, LiveTurns, LocalTurnLog, NewTurn, TurnLog};
use polylogue::words::{
    ConversationRef, Event, EventBody, EventId, PersonaId, Principal, RequestId, Timestamp, TurnId, new_ulid,
};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tokens of an answer, as in the targets of speed.
const TOKENS: u64 = 16;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn delta(persona: &PersonaId) -> EventBody {
    EventBody::ReplyDelta { persona: persona.clone(), text: " somewhere".to_owned() }
}

fn persona() -> PersonaId {
    "historian".parse().unwrap()
}

fn new_turn(nth: u64) -> NewTurn {
    let conversation: polylogue::words::ConversationKey = format!("c-{nth}").parse().unwrap();
    let now = Timestamp::now().as_millis();
    let turn = TurnId::new(new_ulid(now), &conversation);
    let started = EventBody::TurnStarted {
        conversation: ConversationRef { id: conversation.id().clone(), created: true },
        message_id: turn.user_message(),
        degraded: false,
    };
    let address: std::net::IpAddr = [127, 0, 0, 1].into();
    NewTurn {
        turn,
        conversation,
        principal: Principal::Address(address.into()),
        owner: "bench".parse().unwrap(),
        deadline: Timestamp::from_millis(now + 120_000),
        request: serde_json::value::RawValue::from_string("{}".to_owned()).unwrap().into(),
        first: Arc::new(Event::new(EventId { epoch: 1, seq: 1 }, turn, started)),
        idempotency: None,
    }
}

/// One event into the JSON that every reader gets.
fn encoding(criterion: &mut Criterion) {
    let (turn, persona) = (new_turn(0).turn, persona());
    criterion.bench_function("event/json", |bencher| {
        bencher.iter_batched(
            || delta(&persona),
            |body| black_box(Event::new(EventId { epoch: 1, seq: 7 }, turn, body).json().len()),
            BatchSize::SmallInput,
        );
    });
}

/// A turn from its acceptance to its end, with so many readers of every event.
fn routing_of_events(criterion: &mut Criterion) {
    let runtime = runtime();
    // Soon forgotten, or the log would be full of the turns of this benchmark.
    let settings = Turns { retention: Span(Duration::from_millis(10)), ..Config::default().turns };
    let log: Arc<dyn TurnLog> = Arc::new(LocalTurnLog::new(settings.clone()));
    let turns = {
        let _guard = runtime.enter();
        LiveTurns::new(log, settings, Arc::new(Metrics::new()), Shutdown::new())
    };
    let mut group = criterion.benchmark_group("turn/events");
    let mut nth = 0;
    for readers in [0, 1, 8] {
        group.throughput(Throughput::Elements(TOKENS));
        group.bench_function(BenchmarkId::from_parameter(format!("{readers} readers")), |bencher| {
            bencher.iter(|| {
                nth += 1;
                runtime.block_on(a_turn(&turns, nth, readers));
            });
        });
    }
    group.finish();
}

async fn a_turn(turns: &Arc<LiveTurns>, nth: u64, readers: usize) {
    let (new, persona) = (new_turn(nth), persona());
    let id = new.turn;
    let Ok(place) = turns.try_reserve() else { panic!("turns are not given back") };
    let Ok(Accepted::Ok(claim)) = turns.log().accept(new.clone()).await else { panic!("not accepted") };
    let live = turns.begin(place, claim, new.page(), CancellationToken::new());
    let mut reading = Vec::new();
    for _ in 0..readers {
        let mut reader = turns.open(id, Some(EventId::START)).await.unwrap().unwrap();
        reading.push(tokio::spawn(async move {
            while let Ok(Some(event)) = reader.next().await {
                black_box(event.json());
            }
        }));
    }
    for _ in 0..TOKENS {
        live.push(delta(&persona)).unwrap();
    }
    black_box(live.finish(EventBody::TurnCompleted { usage: None }).await);
    for reader in reading {
        reader.await.unwrap();
    }
}

/// Events that are there already, as a response of server-sent events.
struct Ready {
    turn: TurnId,
    events: std::vec::IntoIter<Arc<Event>>,
}

impl Source for Ready {
    fn turn(&self) -> TurnId {
        self.turn
    }

    async fn next(&mut self) -> Result<Option<Arc<Event>>, ChatError> {
        Ok(self.events.next())
    }
}

fn server_sent_events(criterion: &mut Criterion) {
    let runtime = runtime();
    let around = Surroundings::new(&Config::default(), Arc::new(Metrics::new()), Shutdown::new());
    let turn = new_turn(0).turn;
    let bodies = (0..TOKENS).map(|_| delta(&persona())).chain([EventBody::TurnCompleted { usage: None }]);
    let numbered =
        (1..).zip(bodies).map(|(seq, body)| Arc::new(Event::new(EventId { epoch: 1, seq }, turn, body)));
    let events: Vec<_> = numbered.collect();
    let mut group = criterion.benchmark_group("sse");
    group.throughput(Throughput::Elements(TOKENS));
    group.bench_function("frames", |bencher| {
        bencher.iter(|| {
            let source = Ready { turn, events: events.clone().into_iter() };
            runtime.block_on(async {
                let stream = EventStream::open(source, RequestId::random(), around.clone());
                let body = poem::IntoResponse::into_response(stream).into_body();
                black_box(body.into_bytes().await.unwrap().len())
            })
        });
    });
    group.finish();
}

fn limiter(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("limiter/decide");
    for strategy in [Strategy::FixedWindow, Strategy::Gcra] {
        let policy = Arc::new(Policy {
            name: "default".into(),
            quota: u32::MAX,
            window: Duration::from_secs(60),
            scope: Scope::Principal,
            strategy,
        });
        let limiter = LocalLimiter::new();
        let checks: Vec<_> = (0..10_000)
            .map(|nth| [Check { policy: Arc::clone(&policy), subject: format!("address:192.0.2.{nth}") }])
            .collect();
        let mut nth = 0;
        group.bench_function(
            BenchmarkId::from_parameter(format!("{strategy:?}, 10,000 callers")),
            |bencher| {
                bencher.iter(|| {
                    nth = (nth + 1) % checks.len();
                    runtime.block_on(limiter.decide(&checks[nth])).is_allowed()
                });
            },
        );
    }
    group.finish();
}

fn breaker(criterion: &mut Criterion) {
    let breaker = Breaker::new("bench", Config::default().llm.breaker, Arc::new(Metrics::new()));
    criterion.bench_function("breaker/call", |bencher| {
        bencher.iter(|| breaker.admit().map(|permit| permit.success()).is_ok());
    });
}

#[derive(Clone, Default)]
struct Count(u64);

impl State for Count {
    type Update = u64;

    fn apply(&mut self, update: u64) {
        self.0 += update;
    }
}

/// A node that does nothing but count.
struct Add;

#[async_trait]
impl Node<Count, Infallible> for Add {
    async fn run(&self, _: &Count, _: &Context) -> Result<u64, Infallible> {
        Ok(1)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Nth(u8);

impl fmt::Display for Nth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}", self.0)
    }
}

fn graph(criterion: &mut Criterion) {
    let runtime = runtime();
    let flow = Graph::builder(Nth(1)).node(Nth(1), Add).then(Nth(2)).node(Nth(2), Add).then(Nth(3));
    let flow = flow.node(Nth(3), Add).then(Nth(4)).node(Nth(4), Add).ends().build().unwrap();
    let mut group = criterion.benchmark_group("graph");
    group.throughput(Throughput::Elements(4));
    group.bench_function("steps", |bencher| {
        bencher.iter(|| {
            let start = Start::Beginning(Count::default());
            runtime.block_on(flow.run(start, &NoCheckpoints, CancellationToken::new())).map(|count| count.0)
        });
    });
    group.finish();
}

criterion_group!(hot_paths, encoding, routing_of_events, server_sent_events, limiter, breaker, graph);
criterion_main!(hot_paths);
