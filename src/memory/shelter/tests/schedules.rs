//! Random schedules of what callers do and what happens to the shared memory.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::sleep;

use super::{A_WHILE, Stand, answered, here, said, turn};
use crate::memory::Memory as _;
use crate::memory::conversation::turn_of;
use crate::words::{MessageId, Role};

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    Add { replica: usize, turn: u64 },
    Merge { replica: usize, turn: u64 },
    Read { replica: usize },
    Clear { replica: usize, turn: u64 },
    GoesAway,
    GoesMute,
    IsBack,
    FailsOver,
    Loses { noticed_after_ms: u64 },
    Passes { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let (replica, turn) = (0..2_usize, 0..12_u64);
    prop_oneof![
        6 => (replica.clone(), turn.clone()).prop_map(|(replica, turn)| Step::Add { replica, turn }),
        6 => (replica.clone(), turn.clone()).prop_map(|(replica, turn)| Step::Merge { replica, turn }),
        4 => replica.clone().prop_map(|replica| Step::Read { replica }),
        2 => (replica, turn).prop_map(|(replica, turn)| Step::Clear { replica, turn }),
        2 => Just(Step::GoesAway),
        1 => Just(Step::GoesMute),
        3 => Just(Step::IsBack),
        1 => Just(Step::FailsOver),
        1 => (0..3000_u64).prop_map(|noticed_after_ms| Step::Loses { noticed_after_ms }),
        4 => (0..3000_u64).prop_map(|ms| Step::Passes { ms }),
    ]
}

/// What was ever said and forgotten.
#[derive(Default)]
struct Ledger {
    said: BTreeSet<u64>,
    answered: BTreeSet<u64>,
    mark: Option<u64>,
}

impl Ledger {
    fn note(&mut self, step: &Step) {
        match step {
            Step::Add { turn, .. } => self.said.extend([*turn]),
            Step::Merge { turn, .. } => {
                self.said.extend([*turn]);
                self.answered.extend([*turn]);
            }
            Step::Clear { turn, .. } => self.mark = self.mark.max(Some(*turn)),
            Step::Read { .. } | Step::GoesAway | Step::GoesMute | Step::IsBack => {}
            Step::FailsOver | Step::Loses { .. } | Step::Passes { .. } => {}
        }
    }

    /// What has to be there in the end; who answered first is open.
    fn expected(&self) -> Vec<MessageId> {
        let above = self.said.iter().filter(|turn| Some(**turn) > self.mark);
        let ids = |n: &u64| {
            let count = if self.answered.contains(n) { 3 } else { 1 };
            answered(*n, 0).into_iter().take(count).map(|message| message.id).collect::<Vec<_>>()
        };
        above.flat_map(ids).collect()
    }
}

async fn plays(stand: &Stand, step: Step) {
    match step {
        Step::Add { replica, turn } => {
            stand.replicas[replica].add(&here(), &[said(turn)]).await.map(drop).unwrap();
        }
        Step::Merge { replica, turn } => {
            stand.replicas[replica].merge(&here(), &answered(turn, replica)).await.map(drop).unwrap();
        }
        Step::Read { replica } => drop(stand.replicas[replica].history(&here()).await),
        Step::Clear { replica, turn: n } => {
            stand.replicas[replica].clear(&here(), turn(n).reply_message(250)).await.map(drop).unwrap();
        }
        Step::GoesAway => stand.model.goes_away(),
        Step::GoesMute => stand.model.goes_mute(),
        Step::IsBack => stand.model.is_back(),
        Step::Loses { noticed_after_ms } => {
            stand.model.loses_everything();
            sleep(Duration::from_millis(noticed_after_ms)).await;
            stand.model.is_known_to_have_lost();
        }
        Step::FailsOver => stand.model.fails_over(),
        Step::Passes { ms } => {
            sleep(Duration::from_millis(ms)).await;
            stand.model.saves();
        }
    }
}

async fn ends_alike(steps: Vec<Step>) {
    let stand = Stand::of(2, |settings| settings.max_messages = 100.try_into().unwrap());
    let mut ledger = Ledger::default();
    for step in steps {
        ledger.note(&step);
        plays(&stand, step).await;
    }
    stand.model.is_back();
    sleep(A_WHILE).await;

    let mut ends = Vec::new();
    for replica in &stand.replicas {
        let history = replica.history(&here()).await.unwrap().unwrap_or_default();
        ends.push(history.messages.clone());
    }
    assert_eq!(ends[0], ends[1]);
    let ids: Vec<_> = ends[0].iter().map(|message| message.id).collect();
    assert_eq!(ids, ledger.expected());
    let versions = ends[0].iter().filter(|message| message.role == Role::Assistant);
    let by_turn: BTreeMap<u128, BTreeSet<&str>> = versions.fold(BTreeMap::new(), |mut all, reply| {
        all.entry(turn_of(reply.id)).or_default().insert(&reply.content);
        all
    });
    assert!(by_turn.values().all(|version| version.len() == 1), "one version of each turn: {by_turn:?}");
    assert_eq!(stand.metrics.memory.unconfirmed.get(&()), 0);
    stand.stop().await;
    assert_eq!(stand.metrics.memory.unconfirmed_dropped.get(&()), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_replicas_end_up_with_the_same_conversation(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(ends_alike(steps));
    }
}
