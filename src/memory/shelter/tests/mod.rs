//! Whatever happens to the shared memory, replicas end up with the same conversations.

mod model;
mod schedules;

use std::sync::Arc;
use std::time::Duration;

use model::Model;
use tokio::time::sleep;
use ulid::Ulid;

use super::ShelteredMemory;
use crate::config::{self, Config};
use crate::memory::{Memory, Written};
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::Metrics;
use crate::words::{ConversationKey, Message, MessageId, Role, Timestamp, TurnId};

/// More than the keeper's longest pause, and its ordinary one.
const A_WHILE: Duration = Duration::from_secs(5);

/// Some replicas on one shared memory.
struct Stand {
    model: Model,
    replicas: Vec<Arc<ShelteredMemory<Model>>>,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
}

impl Stand {
    fn of(replicas: usize, change: impl FnOnce(&mut config::Memory)) -> Self {
        let mut settings = Config::default().memory;
        change(&mut settings);
        let (metrics, shutdown) = (Arc::new(Metrics::new()), Shutdown::new());
        let model = Model::new(settings.max_messages.get());
        let replica = |_| {
            let metrics = Arc::clone(&metrics);
            Arc::new(ShelteredMemory::new(model.clone(), &settings, metrics, &shutdown))
        };
        Self { replicas: (0..replicas).map(replica).collect(), model, metrics, shutdown }
    }

    async fn stop(&self) {
        self.shutdown.closing().cancel();
        self.shutdown.ended().await;
    }

    async fn texts(&self, replica: usize) -> Option<Vec<String>> {
        let history = self.replicas[replica].history(&here()).await.ok()?.unwrap_or_default();
        Some(history.messages.into_iter().map(|message| message.content).collect())
    }
}

pub(super) fn here() -> ConversationKey {
    "team-42".parse().unwrap()
}

pub(super) fn turn(n: u64) -> TurnId {
    TurnId::new(Ulid::from_parts(1_795_460_442_000 + n, 0), &here())
}

fn message(id: MessageId, role: Role, content: &str) -> Message {
    let created_at = Timestamp::from_millis(1_795_460_442_000);
    Message { id, role, persona: None, content: content.to_owned(), created_at, cancelled: false }
}

pub(super) fn said(n: u64) -> Message {
    message(turn(n).user_message(), Role::User, &n.to_string())
}

fn answered(n: u64, by: usize) -> Vec<Message> {
    let reply = |nth| message(turn(n).reply_message(nth), Role::Assistant, &format!("{n} by {by}"));
    vec![said(n), reply(0), reply(1)]
}

#[tokio::test(start_paused = true)]
async fn what_two_said_while_nobody_could_be_asked_is_one_conversation_afterwards() {
    let stand = Stand::of(2, |_| ());
    stand.model.goes_away();
    for n in 0..6 {
        let replica = &stand.replicas[n as usize % 2];
        assert_eq!(replica.add(&here(), &[said(n)]).await.unwrap(), Written::Written(1));
    }
    assert_eq!(stand.texts(1).await.unwrap(), ["1", "3", "5"]);
    stand.model.is_back();
    sleep(A_WHILE).await;
    for replica in 0..2 {
        assert_eq!(stand.texts(replica).await.unwrap(), ["0", "1", "2", "3", "4", "5"]);
    }
    assert_eq!(stand.metrics.memory.unconfirmed.get(&()), 0);
    stand.stop().await;
    assert_eq!(stand.metrics.memory.unconfirmed_dropped.get(&()), 0);
}

#[tokio::test(start_paused = true)]
async fn of_a_turn_answered_twice_the_version_that_is_shared_first_counts() {
    let stand = Stand::of(2, |_| ());
    stand.model.goes_away();
    for replica in 0..2 {
        stand.replicas[replica].merge(&here(), &answered(1, replica)).await.unwrap();
    }
    stand.model.is_back();
    sleep(A_WHILE).await;
    let [one, other] = [stand.texts(0).await.unwrap(), stand.texts(1).await.unwrap()];
    assert_eq!(one, other);
    assert!(one == ["1", "1 by 0", "1 by 0"] || one == ["1", "1 by 1", "1 by 1"], "{one:?}");
    assert_eq!(stand.metrics.memory.conflicts.get(&()), 1);

    stand.replicas[1].merge(&here(), &answered(1, 2)).await.unwrap();
    assert_eq!(stand.metrics.memory.conflicts.get(&()), 2, "also one that comes late");
    assert_eq!(stand.texts(1).await.unwrap(), one);

    let mut again = answered(1, usize::from(one[1] == "1 by 1"));
    again[1].created_at = Timestamp::now();
    stand.replicas[1].merge(&here(), &again).await.unwrap();
    assert_eq!(stand.metrics.memory.conflicts.get(&()), 2, "when it was written down makes no other version");
}

#[tokio::test(start_paused = true)]
async fn what_a_failover_dropped_is_written_again() {
    let stand = Stand::of(2, |_| ());
    stand.replicas[0].add(&here(), &[said(1)]).await.unwrap();
    stand.model.saves();
    stand.replicas[0].add(&here(), &[said(2)]).await.unwrap();
    stand.model.fails_over();
    sleep(A_WHILE).await;
    assert_eq!(stand.texts(1).await.unwrap(), ["1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn a_read_between_a_loss_and_its_notice_loses_nothing() {
    let stand = Stand::of(2, |_| ());
    stand.replicas[0].add(&here(), &[said(1), said(2)]).await.unwrap();
    stand.model.loses_everything();
    assert_eq!(stand.texts(0).await.unwrap(), ["1", "2"]);
    assert!(stand.texts(1).await.unwrap().is_empty());
    sleep(A_WHILE).await;
    assert_eq!(stand.texts(1).await.unwrap(), ["1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn what_has_expired_does_not_live_on_in_a_copy() {
    let stand = Stand::of(2, |_| ());
    stand.replicas[0].add(&here(), &[said(1)]).await.unwrap();
    sleep(Duration::from_secs(3600)).await;
    stand.model.loses_everything();
    stand.model.is_known_to_have_lost();
    assert!(stand.texts(0).await.unwrap().is_empty());
    sleep(A_WHILE).await;
    assert!(stand.texts(1).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_unknown_here_cannot_be_read_without_the_others() {
    let stand = Stand::of(1, |_| ());
    stand.model.goes_away();
    assert!(stand.texts(0).await.is_none());
    assert!(!stand.replicas[0].clear(&here(), turn(1).user_message()).await.unwrap());
    assert!(stand.texts(0).await.unwrap().is_empty(), "it was forgotten here");
}

#[tokio::test(start_paused = true)]
async fn too_much_that_waits_pushes_out_its_oldest_turns_and_nothing_else() {
    let stand = Stand::of(1, |settings| {
        settings.max_conversations = 4.try_into().unwrap();
        settings.max_messages = 4.try_into().unwrap();
    });
    let id = |n: u64| format!("c{n}").parse::<ConversationKey>().unwrap();
    let replica = &stand.replicas[0];
    replica.add(&id(0), &[said(0)]).await.unwrap();
    stand.model.goes_away();
    for n in 1..=10 {
        replica.add(&id(n), &[said(n)]).await.unwrap();
    }
    assert_eq!(stand.metrics.memory.unconfirmed.get(&()), 8);
    assert_eq!(stand.metrics.memory.unconfirmed_dropped.get(&()), 2);
    assert!(replica.history(&id(0)).await.unwrap().is_some(), "it does not wait");

    stand.model.is_back();
    sleep(A_WHILE).await;
    let kept = (0..=10).map(|n| stand.model.kept().conversations.get(&id(n)).map_or(0, |kept| kept.1.len()));
    assert_eq!(kept.collect::<Vec<_>>(), [1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_makes_a_last_attempt_and_says_what_is_lost() {
    let stand = Stand::of(1, |_| ());
    stand.model.goes_away();
    stand.replicas[0].add(&here(), &[said(1)]).await.unwrap();
    stand.replicas[0].clear(&"other".parse().unwrap(), turn(1).user_message()).await.unwrap();
    stand.stop().await;
    assert_eq!(stand.metrics.memory.unconfirmed_dropped.get(&()), 2);

    let stand = Stand::of(1, |_| ());
    stand.model.goes_away();
    stand.replicas[0].add(&here(), &[said(1)]).await.unwrap();
    stand.model.kept().away = false;
    stand.stop().await;
    assert_eq!(stand.metrics.memory.unconfirmed_dropped.get(&()), 0);
}

mod lists {
    use super::*;
    use crate::memory::{Listing, ListingQuery};
    use crate::words::{Principal, PrincipalHash};

    fn ada() -> Principal {
        "key:ada".parse().unwrap()
    }

    fn own(id: &str) -> ConversationKey {
        ConversationKey::of(&ada(), &id.parse().unwrap())
    }

    async fn listed(stand: &Stand, replica: usize) -> Listing {
        let query = ListingQuery { limit: 10, after: None };
        stand.replicas[replica].list(PrincipalHash::of(&ada()), &query).await.unwrap()
    }

    async fn ids(stand: &Stand, replica: usize) -> Vec<String> {
        let mut ids: Vec<_> =
            listed(stand, replica).await.items.into_iter().map(|item| item.id.to_string()).collect();
        ids.sort();
        ids
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_that_was_lost_is_written_again_when_its_conversation_is_used() {
        let stand = Stand::of(2, |_| ());
        stand.replicas[0].add(&own("a"), &[said(1)]).await.unwrap();
        stand.model.kept().listed.clear();
        assert!(ids(&stand, 1).await.is_empty());

        stand.replicas[1].history(&own("a")).await.unwrap().unwrap();
        sleep(A_WHILE).await;
        assert_eq!(ids(&stand, 0).await, ["a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_listed_is_listed_soon_after() {
        let stand = Stand::of(2, |_| ());
        stand.replicas[0].add(&own("a"), &[said(1)]).await.unwrap();
        stand.model.goes_away();
        stand.replicas[0].add(&own("b"), &[said(2)]).await.unwrap();
        stand.replicas[0].clear(&own("a"), turn(9).user_message()).await.unwrap();
        let here = listed(&stand, 0).await;
        assert!(here.degraded && here.items.len() == 1, "{here:?}");
        assert!(listed(&stand, 1).await.items.is_empty(), "nothing of it is known there");

        stand.model.is_back();
        assert_eq!(ids(&stand, 0).await, ["b"], "at once where it is known");
        sleep(A_WHILE).await;
        assert_eq!(ids(&stand, 1).await, ["b"]);
        assert_eq!(stand.model.kept().listed.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shared_memory_that_lost_everything_is_given_its_lists_again() {
        let stand = Stand::of(2, |_| ());
        stand.replicas[0].add(&own("a"), &[said(1)]).await.unwrap();
        stand.replicas[1].add(&own("b"), &[said(2)]).await.unwrap();
        stand.replicas[1].add(&here(), &[said(3)]).await.unwrap();
        stand.model.loses_everything();
        stand.model.is_known_to_have_lost();
        sleep(A_WHILE).await;
        for replica in 0..2 {
            assert_eq!(ids(&stand, replica).await, ["a", "b"]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_whose_conversation_is_gone_is_taken_out() {
        let stand = Stand::of(1, |_| ());
        stand.replicas[0].add(&own("a"), &[said(1)]).await.unwrap();
        stand.model.kept().conversations.clear();
        let fresh = Stand { replicas: Vec::new(), ..stand };
        let settings = Config::default().memory;
        let other =
            ShelteredMemory::new(fresh.model.clone(), &settings, Arc::clone(&fresh.metrics), &fresh.shutdown);
        let query = ListingQuery { limit: 10, after: None };
        assert!(other.list(PrincipalHash::of(&ada()), &query).await.unwrap().items.is_empty());
        assert!(fresh.model.kept().listed.is_empty());
    }
}
