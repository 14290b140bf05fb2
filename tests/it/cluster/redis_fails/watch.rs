use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::replicas::Replicas;
use crate::support::{Answer, Client};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Looks at every replica all the time: each is always ready, and of a turn that was accepted none ever says that it is
/// not known, though it may say that it cannot tell.
pub struct Watch {
    turns: Arc<Mutex<Vec<String>>>,
    answers: Arc<Mutex<BTreeMap<String, usize>>>,
    #[expect(dead_code, reason = "it ends when it is dropped")]
    task: JoinSet<()>,
}

impl Watch {
    /// Begins to look.
    pub fn over(replicas: &Replicas) -> Self {
        let (turns, answers) = (Arc::<Mutex<Vec<String>>>::default(), Arc::default());
        let mut task = JoinSet::new();
        for client in replicas.iter().map(|replica| replica.client.clone()) {
            task.spawn(look(client, Arc::clone(&turns), Arc::clone(&answers)));
        }
        Self { turns, answers, task }
    }

    /// From now on this turn is looked for, too.
    pub fn look_for(&self, turn: &str) {
        self.turns.lock().unwrap().push(turn.to_owned());
    }

    /// Fails if anything was answered that may not be; what was, and how often.
    pub fn must_be_content(&self) -> BTreeMap<String, usize> {
        let answers = self.answers.lock().unwrap().clone();
        let allowed = ["/readyz 200", "turn 200", "turn 503 state_unavailable"];
        let odd: Vec<_> = answers.iter().filter(|(answer, _)| !allowed.contains(&answer.as_str())).collect();
        assert!(odd.is_empty(), "what should not be answered: {odd:?}");
        answers
    }
}

async fn look(client: Client, turns: Arc<Mutex<Vec<String>>>, answers: Arc<Mutex<BTreeMap<String, usize>>>) {
    let note = |answer: String| *answers.lock().unwrap().entry(answer).or_default() += 1;
    // Whoever is dead says nothing.
    let get =
        async |path: &str| Some(Answer::of(client.client.get(client.url(path)).send().await.ok()?).await);
    for round in 0.. {
        if let Some(answer) = get("/readyz").await {
            note(format!("/readyz {}", answer.status));
        }
        let turn = {
            let turns = turns.lock().unwrap();
            (!turns.is_empty()).then(|| turns[round % turns.len()].clone())
        };
        if let Some(turn) = turn
            && let Some(answer) = get(&format!("/api/v1/turns/{turn}")).await
        {
            note(format!("turn {} {}", answer.status, answer.code()).trim_end().to_owned());
        }
        sleep(PAUSE).await;
    }
}
