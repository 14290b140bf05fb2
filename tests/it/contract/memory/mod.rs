//! What every implementation of `Memory` promises.

mod listing;

use std::any::Any;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use listing::*;
use polylogue::config::{Config, Span};
use polylogue::memory::{LocalMemory, Measured, Memory, RedisMemory, ShelteredMemory, Written};
use polylogue::redis::Redis;
use polylogue::shutdown::Shutdown;
use polylogue::telemetry::metrics::{Backend, MemoryOperation, Metrics, Outcome};
use polylogue::words::{ConversationKey, Message, MessageId, Role, Timestamp, TurnId};
use ulid::Ulid;

use crate::support::redis::{RedisCluster, RedisServer, Sentinels};

/// A memory that keeps `MOST` messages for `ttl`. In paused time that is an hour; a real one has to wait for it.
struct Stand {
    memory: Arc<dyn Memory>,
    ttl: Duration,
    /// What the memory needs around it.
    rest: Box<dyn Any + Send + Sync>,
}

const MOST: usize = 4;

/// Long enough for a busy machine to use a conversation again in time.
const REAL_TTL: Duration = Duration::from_secs(1);

macro_rules! every_claim {
    ($run:ident!($($how:tt)*)) => {
        $run!($($how)*;
            messages_are_kept_in_the_order_of_their_ids_whatever_the_order_of_writing
            writing_the_same_again_changes_nothing
            only_the_newest_are_kept
            what_was_cut_does_not_come_back
            a_conversation_nobody_has_spoken_in_is_none
            every_use_renews_the_time_to_live
            a_conversation_that_expired_is_as_if_it_had_never_been
            what_was_forgotten_never_comes_back
            a_conversation_goes_on_above_its_mark
            a_mark_never_moves_back
            two_that_write_at_once_lose_nothing
            a_turn_answered_twice_is_remembered_once_and_whole
            conversations_do_not_mix
            two_principals_may_use_the_same_id_and_never_meet
            a_list_shows_a_principals_own_conversations_the_newest_first
            a_list_is_read_page_by_page
            what_was_forgotten_is_not_listed
            being_read_keeps_a_conversation_listed_and_being_listed_does_not
        );
    };
}

/// Runs every claim against one implementation: its name, how a test runs, and how a stand is made.
macro_rules! memory_contract {
    ($name:ident, $test:tt, $stand:expr; $($claim:ident)*) => {
        mod $name {
            use super::*;
            $(#[tokio::test $test] async fn $claim() { super::$claim($stand).await; })*
        }
    };
}

/// The same, all at once on what takes long to start.
macro_rules! all_at_once {
    ($stand:expr; $($claim:ident)*) => {{
        tokio::join!($(Box::pin(async { $claim($stand).await })),*);
    }};
}

every_claim!(memory_contract!(local, (start_paused = true), local()));
every_claim!(memory_contract!(redis, (flavor = "multi_thread", worker_threads = 2), alone(false).await));
every_claim!(memory_contract!(sheltered, (flavor = "multi_thread", worker_threads = 2), alone(true).await));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_claim_holds_behind_sentinel() {
    let sentinels = Sentinels::start().await;
    every_claim!(all_at_once!(remote(&sentinels.url(), false)));
    every_claim!(all_at_once!(remote(&sentinels.url(), true)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_claim_holds_on_a_cluster() {
    let cluster = RedisCluster::start().await;
    every_claim!(all_at_once!(remote(&cluster.url(), false)));
    every_claim!(all_at_once!(remote(&cluster.url(), true)));
}

fn local() -> Stand {
    let settings = settings(Duration::from_secs(3600));
    let memory = LocalMemory::new(&settings, Arc::new(Metrics::new()));
    Stand { memory: Arc::new(memory), ttl: *settings.ttl, rest: Box::new(()) }
}

fn settings(ttl: Duration) -> polylogue::config::Memory {
    let mut settings = Config::default().memory;
    settings.max_messages = NonZeroUsize::new(MOST).unwrap();
    settings.ttl = Span(ttl);
    settings
}

/// A stand on a server of its own.
async fn alone(sheltered: bool) -> Stand {
    let server = RedisServer::start().await;
    let stand = remote(&server.url(), sheltered);
    Stand { rest: Box::new((stand.rest, server)), ..stand }
}

/// A stand on a Redis that others may use too.
fn remote(url: &str, sheltered: bool) -> Stand {
    let (settings, metrics, shutdown) = (settings(REAL_TTL), Arc::new(Metrics::new()), Shutdown::new());
    let mut config = Config::default().redis;
    config.url = Some(url.into());
    // No busy machine makes Redis look away.
    config.timeout = Span(Duration::from_secs(10));
    config.key_prefix = format!("test-{}", Ulid(rand::random())).try_into().unwrap();
    let redis = Redis::new(&config, &[], &metrics, &shutdown).unwrap().unwrap();
    let memory = RedisMemory::new(redis, &settings);
    let memory: Arc<dyn Memory> = match sheltered {
        true => Arc::new(ShelteredMemory::new(memory, &settings, metrics, &shutdown)),
        false => Arc::new(memory),
    };
    Stand { memory, ttl: REAL_TTL, rest: Box::new(shutdown.closing().clone().drop_guard()) }
}

impl Stand {
    async fn add(&self, messages: &[Message]) -> Written {
        self.memory.add(&here(), messages).await.unwrap()
    }

    async fn clear(&self, up_to: MessageId) -> bool {
        self.memory.clear(&here(), up_to).await.unwrap()
    }

    async fn texts(&self) -> Vec<String> {
        let history = self.memory.history(&here()).await.unwrap().unwrap_or_default();
        history.messages.into_iter().map(|message| message.content).collect()
    }
}

fn here() -> ConversationKey {
    "team-42".parse().unwrap()
}

/// The `n`th turn of a conversation; later ones sort after earlier ones.
fn turn(n: u64) -> TurnId {
    TurnId::new(Ulid::from_parts(1_795_460_442_000 + n, 0), &here())
}

fn message(id: MessageId, role: Role, content: &str) -> Message {
    let created_at = Timestamp::from_millis(1_795_460_442_000);
    Message { id, role, persona: None, content: content.to_owned(), created_at, cancelled: false }
}

fn said(n: u64) -> Message {
    message(turn(n).user_message(), Role::User, &n.to_string())
}

fn all_said(numbers: impl IntoIterator<Item = u64>) -> Vec<Message> {
    numbers.into_iter().map(said).collect()
}

async fn messages_are_kept_in_the_order_of_their_ids_whatever_the_order_of_writing(stand: Stand) {
    let [one, two, three] = [1, 2, 3].map(said);
    stand.add(&[three]).await;
    stand.add(&[two, one]).await;
    assert_eq!(stand.texts().await, ["1", "2", "3"]);
}

async fn writing_the_same_again_changes_nothing(stand: Stand) {
    let both = all_said([1, 2]);
    assert_eq!(stand.add(&both).await, Written::Written(2));
    let before = stand.memory.history(&here()).await.unwrap();

    let mut other = both[1].clone();
    other.content = "said differently".into();
    assert_eq!(stand.add(&[both[0].clone(), other]).await, Written::Known);
    assert_eq!(stand.memory.history(&here()).await.unwrap(), before);

    assert_eq!(stand.add(&[both[1].clone(), said(3)]).await, Written::Written(1));
}

async fn only_the_newest_are_kept(stand: Stand) {
    assert_eq!(stand.add(&all_said(1..=6)).await, Written::Written(MOST));
    assert_eq!(stand.texts().await, ["3", "4", "5", "6"]);
    stand.add(&[said(7)]).await;
    assert_eq!(stand.texts().await, ["4", "5", "6", "7"]);
}

async fn what_was_cut_does_not_come_back(stand: Stand) {
    let all = all_said(1..=5);
    stand.add(&all).await;
    assert_eq!(stand.add(&all[..1]).await, Written::Known);
    assert_eq!(stand.texts().await, ["2", "3", "4", "5"]);
}

async fn a_conversation_nobody_has_spoken_in_is_none(stand: Stand) {
    assert!(stand.memory.history(&here()).await.unwrap().is_none());
    assert_eq!(stand.add(&[]).await, Written::Known);
    assert!(stand.memory.history(&here()).await.unwrap().is_none());
}

async fn every_use_renews_the_time_to_live(stand: Stand) {
    stand.add(&[said(1)]).await;
    for _ in 0..4 {
        tokio::time::sleep(stand.ttl.mul_f64(0.7)).await;
        assert_eq!(stand.texts().await, ["1"], "read within its time");
    }
    for _ in 0..3 {
        tokio::time::sleep(stand.ttl.mul_f64(0.7)).await;
        stand.add(&[said(2)]).await;
    }
    assert_eq!(stand.texts().await, ["1", "2"]);
}

async fn a_conversation_that_expired_is_as_if_it_had_never_been(stand: Stand) {
    stand.add(&all_said(1..=6)).await;
    tokio::time::sleep(stand.ttl).await;
    assert!(stand.memory.history(&here()).await.unwrap().is_none());

    stand.add(&[said(7)]).await;
    let history = stand.memory.history(&here()).await.unwrap().unwrap();
    assert_eq!(history.messages.len(), 1);
    assert!(!history.cut);
    assert!(history.created_at.is_some() && history.updated_at >= history.created_at);
}

async fn what_was_forgotten_never_comes_back(stand: Stand) {
    let old = all_said([1, 2]);
    stand.add(&old).await;
    assert!(stand.clear(turn(3).user_message()).await);
    assert!(!stand.clear(turn(3).user_message()).await, "nothing was left");

    assert!(stand.memory.history(&here()).await.unwrap().is_none());
    for _ in 0..3 {
        tokio::time::sleep(stand.ttl.mul_f64(0.7)).await;
        assert_eq!(stand.add(&old).await, Written::Cleared, "a late write of an old turn");
        assert_eq!(stand.memory.merge(&here(), &old).await.unwrap(), Written::Cleared);
    }
    assert!(stand.memory.history(&here()).await.unwrap().is_none());
}

async fn a_conversation_goes_on_above_its_mark(stand: Stand) {
    stand.clear(turn(2).user_message()).await;
    assert_eq!(stand.add(&all_said(1..=4)).await, Written::Written(2));
    assert_eq!(stand.texts().await, ["3", "4"]);
}

async fn a_mark_never_moves_back(stand: Stand) {
    stand.clear(turn(5).user_message()).await;
    stand.clear(turn(2).user_message()).await;
    assert_eq!(stand.add(&all_said([3])).await, Written::Cleared);
}

async fn two_that_write_at_once_lose_nothing(stand: Stand) {
    let messages = all_said(0..MOST as u64);
    let writers = messages.iter().chain(&messages).map(|message| stand.add(std::slice::from_ref(message)));
    let written = join_all(writers).await;
    let new = written.iter().filter(|written| **written == Written::Written(1)).count();
    assert_eq!(new, MOST, "each was new to one of its two writers");
    assert_eq!(stand.texts().await, ["0", "1", "2", "3"]);
}

async fn a_turn_answered_twice_is_remembered_once_and_whole(stand: Stand) {
    let turn = turn(1);
    let question = message(turn.user_message(), Role::User, "was Troy real?");
    let reply = |nth, text| message(turn.reply_message(nth), Role::Assistant, text);
    stand.add(std::slice::from_ref(&question)).await;

    let first = [question.clone(), reply(1, "yes")];
    let second = [question, reply(0, "no"), reply(1, "perhaps")];
    assert_eq!(stand.memory.merge(&here(), &first).await.unwrap(), Written::Written(1));
    assert_eq!(stand.memory.merge(&here(), &second).await.unwrap(), Written::Known);
    assert_eq!(stand.memory.merge(&here(), &first).await.unwrap(), Written::Known);

    assert_eq!(stand.texts().await, ["was Troy real?", "yes"]);
}

async fn conversations_do_not_mix(stand: Stand) {
    stand.add(&[said(1)]).await;
    let elsewhere: ConversationKey = "team-43".parse().unwrap();
    assert!(stand.memory.history(&elsewhere).await.unwrap().is_none());
    stand.memory.clear(&elsewhere, turn(9).user_message()).await.unwrap();
    assert_eq!(stand.texts().await, ["1"]);
}

#[tokio::test(start_paused = true)]
async fn a_model_is_never_given_a_reply_whose_question_was_cut() {
    let stand = local();
    let greeting = message(turn(0).reply_message(0), Role::Assistant, "How can I help?");
    let [one, two] = [turn(1), turn(2)];
    stand.add(&[greeting]).await;
    let given = async || {
        let history = stand.memory.history(&here()).await.unwrap().unwrap();
        history.for_model().iter().map(|message| message.content.clone()).collect::<Vec<_>>()
    };
    assert_eq!(given().await, ["How can I help?"], "nothing was cut");

    for (turn, question) in [(one, "first?"), (two, "second?")] {
        let mut messages = vec![message(turn.user_message(), Role::User, question)];
        messages.extend((0..2).map(|nth| message(turn.reply_message(nth), Role::Assistant, "answer")));
        stand.add(&messages).await;
    }
    assert_eq!(stand.texts().await, ["answer", "second?", "answer", "answer"]);
    assert_eq!(given().await, ["second?", "answer", "answer"]);
}

#[tokio::test]
async fn what_is_asked_of_a_memory_is_counted() {
    let metrics = Arc::new(Metrics::new());
    let memory = LocalMemory::new(&Config::default().memory, Arc::clone(&metrics));
    let memory = Measured::new(memory, Backend::Local, Arc::clone(&metrics));

    memory.add(&here(), &[said(1)]).await.unwrap();
    memory.history(&here()).await.unwrap();

    let count = |operation| metrics.memory.operations.get(&(Backend::Local, operation, Outcome::Ok));
    assert_eq!(
        MemoryOperation::ALL.iter().map(|operation| count(*operation)).collect::<Vec<_>>(),
        [1, 1, 0, 0]
    );
    assert_eq!(metrics.memory.conversations.get(&(Backend::Local,)), 1);
}
