use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::super::{Answer, Client};
use super::Anywhere;

/// How long somebody tries to be heard.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long an answer may take before the same is asked again.
const ANSWER: Duration = Duration::from_secs(5);

/// Everything that was said and accepted, to be found again afterwards.
#[derive(Default)]
pub struct Ledger(Mutex<BTreeMap<String, Vec<Entry>>>);

/// A text nobody else says, and what became of it.
#[derive(Clone)]
struct Entry {
    text: String,
    accepted: Accepted,
}

#[derive(Clone)]
enum Accepted {
    Turn(String),
    Message,
    /// Nobody answered: it may be there, once.
    Perhaps,
}

impl Ledger {
    /// Says something and starts a turn, somewhere; asks again with the same key until somebody answers. The turn's id,
    /// or nothing if nobody did.
    pub async fn ask(
        &self,
        anywhere: &Anywhere<'_>,
        conversation: &str,
        personas: &[&str],
    ) -> Option<String> {
        let key = format!("key-{:x}", anywhere.number());
        let text = format!("What about {key}?");
        let body = json!({"message": text, "personas": personas, "conversation_id": conversation});
        let began = Instant::now();
        let mut turn = None;
        while turn.is_none() && began.elapsed() < PATIENCE {
            let client = anywhere.client();
            let request = client.client.post(client.url("/api/v1/turns")).header("Idempotency-Key", &key);
            turn = match answer(request.json(&body)).await {
                Some(answer) if answer.status == 202 => Some(answer.header("turn-id").to_owned()),
                Some(answer) => is_passing(&answer).await,
                None => None,
            };
        }
        let accepted = turn.clone().map_or(Accepted::Perhaps, Accepted::Turn);
        self.enter(conversation, Entry { text, accepted });
        turn
    }

    /// Adds a message, somewhere, once: whether it was accepted.
    pub async fn tell(&self, anywhere: &Anywhere<'_>, conversation: &str) -> bool {
        let text = format!("Note {:x}.", anywhere.number());
        let client = anywhere.client();
        let path = format!("/api/v1/conversations/{conversation}/messages");
        let request = client.client.post(client.url(&path)).json(&json!({"role": "user", "content": text}));
        let accepted = match answer(request).await {
            Some(answer) if answer.status == 201 => Accepted::Message,
            _ => Accepted::Perhaps,
        };
        let was_accepted = matches!(accepted, Accepted::Message);
        self.enter(conversation, Entry { text, accepted });
        was_accepted
    }

    fn enter(&self, conversation: &str, entry: Entry) {
        self.0.lock().unwrap().entry(conversation.to_owned()).or_default().push(entry);
    }

    /// The turns that were accepted.
    pub fn turns(&self) -> Vec<String> {
        let entries = self.0.lock().unwrap();
        let turns = entries.values().flatten().filter_map(|entry| match &entry.accepted {
            Accepted::Turn(turn) => Some(turn.clone()),
            Accepted::Message | Accepted::Perhaps => None,
        });
        turns.collect()
    }

    /// Fails unless everything is found exactly once, as this replica tells it. A conversation keeps its newest messages,
    /// so many; what is older may be gone.
    pub async fn must_balance(&self, client: &Client, kept: usize) {
        let faults = self.faults(client, kept).await;
        assert!(faults.is_empty(), "the ledger does not balance: {faults:#?}");
    }

    /// What is missing, doubled, or nobody's.
    pub async fn faults(&self, client: &Client, kept: usize) -> Vec<String> {
        let entries = self.0.lock().unwrap().clone();
        let mut faults = Vec::new();
        for (conversation, entries) in entries {
            let found = Found { messages: messages(client, &conversation).await, kept };
            let mut audit = Audit { found, explained: Vec::new(), faults: Vec::new() };
            for entry in &entries {
                audit.entry(client, entry).await;
            }
            let may_hide_one = entries.iter().any(|entry| matches!(entry.accepted, Accepted::Perhaps));
            audit.nothing_else(may_hide_one);
            faults.extend(audit.faults.into_iter().map(|fault| format!("{conversation}: {fault}")));
        }
        faults
    }
}

/// The messages of a conversation, in order.
struct Found {
    messages: Vec<Value>,
    kept: usize,
}

impl Found {
    /// Whether something with this id is older than all that is kept.
    fn has_forgotten(&self, id: &str) -> bool {
        self.messages.len() >= self.kept && self.messages[0]["id"].as_str() > Some(id)
    }
}

/// One conversation, compared with what was accepted.
struct Audit {
    found: Found,
    /// The messages that should be there.
    explained: Vec<String>,
    faults: Vec<String>,
}

impl Audit {
    async fn entry(&mut self, client: &Client, entry: &Entry) {
        let said = self.found.messages.iter().filter(|message| message["content"] == entry.text.as_str());
        let ids: Vec<_> = said.map(|message| message["id"].as_str().unwrap().to_owned()).collect();
        let expected = match &entry.accepted {
            Accepted::Turn(turn) if self.found.has_forgotten(turn) => ids.len() <= 1,
            // Its id is not known; it can only be gone where others are.
            Accepted::Message if self.found.messages.len() >= self.found.kept => ids.len() <= 1,
            Accepted::Turn(_) | Accepted::Message => ids.len() == 1,
            Accepted::Perhaps => ids.len() <= 1,
        };
        if !expected {
            self.faults.push(format!("{:?} is there {} times", entry.text, ids.len()));
        }
        self.explained.extend(ids);
        if let Accepted::Turn(turn) = &entry.accepted {
            self.replies(turn, client.get(&format!("/api/v1/turns/{turn}")).await);
        }
    }

    /// Each reply that said something is remembered once, as it was said.
    fn replies(&mut self, turn: &str, answer: Answer) {
        if answer.status != 200 {
            return self.faults.push(format!("the turn {turn} cannot be read: {}", answer.code()));
        }
        for reply in answer.body["replies"].as_array().into_iter().flatten() {
            let (id, persona) = (reply["message_id"].as_str().unwrap_or_default(), &reply["persona"]);
            let ended = reply["status"] == "completed" || reply["status"] == "cancelled";
            if answer.body["ended_at"].is_null() || !ended || reply["content"] == "" {
                continue;
            }
            let same = |message: &&Value| message["id"] == id && message["content"] == reply["content"];
            let count = self.found.messages.iter().filter(same).count();
            if count != 1 && !self.found.has_forgotten(id) {
                self.faults.push(format!("what {persona} said in {turn} is there {count} times"));
            }
            self.explained.push(id.to_owned());
        }
    }

    fn nothing_else(&mut self, may_hide_one: bool) {
        let mut ids: Vec<_> =
            self.found.messages.iter().map(|message| message["id"].as_str().unwrap()).collect();
        if !ids.is_sorted() {
            self.faults.push("the messages are not in the order of their ids".into());
        }
        let count = ids.len();
        ids.dedup();
        if ids.len() < count {
            self.faults.push("an id is there twice".into());
        }
        let nobodys =
            ids.iter().filter(|id| !may_hide_one && !self.explained.iter().any(|known| known == *id));
        self.faults.extend(nobodys.map(|id| format!("the message {id} is nobody's")));
    }
}

/// All messages of a conversation, oldest first; none if it is not known.
async fn messages(client: &Client, conversation: &str) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let after =
            all.last().map_or(String::new(), |last| format!("&after={}", last["id"].as_str().unwrap()));
        let path = format!("/api/v1/conversations/{conversation}/messages?limit=100{after}");
        let page = client.get(&path).await;
        assert!(page.status == 200 || page.status == 404, "{page:?}");
        all.extend(page.body["data"].as_array().into_iter().flatten().cloned());
        if page.body["has_more"] != true {
            return all;
        }
    }
}

/// The answer, if there is one in time.
async fn answer(request: reqwest::RequestBuilder) -> Option<Answer> {
    let answer = async { Some(Answer::of(request.send().await.ok()?).await) };
    timeout(ANSWER, answer).await.ok()?
}

/// Waits a little where another try may be accepted: somebody is busy, or not able.
async fn is_passing(answer: &Answer) -> Option<String> {
    let passes = answer.status >= 500 || answer.code() == "turn_in_progress";
    assert!(passes, "refused: {answer:?}");
    sleep(Duration::from_millis(20)).await;
    None
}
