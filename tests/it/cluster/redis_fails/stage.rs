use std::num::NonZeroU32;
use std::ops::Range;
use std::time::Duration;

use futures_util::future::join_all;
use polylogue::simulator::Controls;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Reader, Watch};
use crate::support::replicas::{Plan, Replica, Replicas, applied};
use crate::support::{Answer, eventually, metric, model};

/// Three replicas, what they were asked to tell, and everybody who listens.
pub struct Stage {
    pub replicas: Replicas,
    pub model: Controls,
    pub watch: Watch,
    told: Vec<Told>,
}

/// A turn that was accepted.
pub struct Told {
    pub turn: String,
    /// The replica that accepted it.
    pub at: usize,
    body: Value,
    key: String,
    readers: Vec<Reader>,
}

impl Told {
    /// Who reads it where it was accepted.
    pub fn on_owner(&self) -> &Reader {
        &self.readers[0]
    }

    pub fn conversation(&self) -> &str {
        self.body["conversation_id"].as_str().unwrap()
    }
}

impl Stage {
    /// Starts three replicas that reach Redis by these ways, and a model whose answers have so many tokens, one each 20 ms.
    pub async fn of(urls: [&str; 3], tokens: u32, settings: &[&str]) -> Self {
        let (simulator, model) = model().await;
        model.change(|settings| settings.token_gap_ms = 20);
        // A busy machine is no slow Redis.
        let plan = Plan::on(&simulator).set("redis.timeout=1s").set("redis.limit_timeout=1s");
        let plan = settings.iter().copied().fold(plan, Plan::set);
        let replicas = Replicas::of(urls.map(|url| plan.clone().redis(url)).into()).await;
        let watch = Watch::over(&replicas);
        let stage = Self { replicas, model, watch, told: Vec::new() };
        stage.speak(tokens);
        stage.is_well().await;
        stage
    }

    /// From now on the model answers with so many tokens.
    pub fn speak(&self, tokens: u32) {
        self.model.change(|settings| settings.tokens = NonZeroU32::new(tokens).unwrap());
    }

    /// Has each replica begin a turn, followed there and on the next one; they have begun to speak when this returns.
    pub async fn tell(&mut self) {
        for at in 0..self.replicas.len() {
            let place = self.begin(at).await;
            self.follow(place, (at + 1) % self.replicas.len()).await;
        }
        let readers = self.told.iter().flat_map(|told| &told.readers);
        join_all(readers.map(|reader| reader.has_seen("reply.delta"))).await;
    }

    /// Has each replica begin a turn while it has no Redis: it says so, and knows it again.
    pub async fn tell_alone(&mut self) {
        for at in 0..self.replicas.len() {
            let place = self.begin(at).await;
            let told = &self.told[place];
            assert_eq!(told.on_owner().has_seen("turn.started").await.data["degraded"], true);
            self.watch.look_for(&told.turn);
            self.knows(told, &self.replicas[at]).await;
            let mut other = told.body.clone();
            other["message"] = "And who asks?".into();
            let busy = self.replicas[at].client.post("/api/v1/turns", other).await;
            assert_eq!((busy.status, busy.code()), (409, "turn_in_progress"), "{busy:?}");
            assert_eq!(busy.body["turn_id"], told.turn.as_str());
        }
    }

    /// All keys lead where they led, and nothing begins a second time.
    pub async fn all_are_known(&self) {
        join_all(self.told.iter().map(|told| self.knows(told, &self.replicas[told.at]))).await;
    }

    /// Begins a turn there, with a reader; its place among those that were told.
    pub async fn begin(&mut self, at: usize) -> usize {
        let number = self.told.len();
        let body = json!({
            "message": format!("What about number {number}?"),
            "personas": ["guide"],
            "conversation_id": format!("conversation-{number}"),
        });
        let key = format!("key-{number}");
        let accepted = ask(&self.replicas[at], &key, &body).await;
        assert_eq!(accepted.status, 202, "{accepted:?}");
        let turn = accepted.header("turn-id").to_owned();
        let readers = vec![Reader::of(&turn, &self.replicas, at, false).await];
        self.told.push(Told { turn, at, body, key, readers });
        number
    }

    pub fn told(&self) -> &[Told] {
        &self.told
    }

    /// The key of a turn leads to it here.
    async fn knows(&self, told: &Told, replica: &Replica) {
        let again = ask(replica, &told.key, &told.body).await;
        let found = (again.header("turn-id"), again.header("idempotent-replayed"));
        assert_eq!(found, (told.turn.as_str(), "true"), "{again:?}");
    }

    /// Waits until those who listen where a turn is told have heard more of it.
    pub async fn owners_go_on(&self, told: Range<usize>) {
        join_all(self.told[told].iter().map(|told| told.on_owner().sees_more(5))).await;
    }

    /// Waits until every replica says that it works without Redis.
    pub async fn is_degraded(&self) {
        join_all(self.replicas.iter().map(is_degraded)).await;
    }

    /// Waits until every replica says that all is well.
    pub async fn is_well(&self) {
        join_all(self.living().map(is_well)).await;
    }

    fn living(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(|replica| replica.is_live())
    }

    /// What a replica cannot tell it says it cannot tell.
    pub async fn elsewhere_nobody_can_tell(&self) {
        for told in &self.told {
            let other = &self.replicas[(told.at + 1) % self.replicas.len()];
            let paths = ["", "/events"].map(|path| format!("/api/v1/turns/{}{path}", told.turn));
            for path in paths {
                let answer = other.client.get(&path).await;
                let said = (answer.status, answer.code(), answer.header("retry-after"));
                assert_eq!(said, (503, "state_unavailable", "1"), "{answer:?}");
            }
        }
    }

    /// Has somebody follow a turn there.
    pub async fn follow(&mut self, place: usize, at: usize) {
        let told = &self.told[place];
        let was_alone = told.on_owner().has_seen("turn.started").await.data["degraded"] == true;
        let reader = Reader::of(&told.turn, &self.replicas, at, was_alone).await;
        self.watch.look_for(&told.turn);
        self.told[place].readers.push(reader);
    }

    /// Waits until everybody has heard the end of everything.
    pub async fn all_have_ended(&self) {
        self.have_ended(0..self.told.len()).await;
    }

    /// Waits until everybody has heard the end of these.
    pub async fn have_ended(&self, told: Range<usize>) {
        join_all(self.told[told].iter().flat_map(|told| &told.readers).map(Reader::has_ended)).await;
    }

    /// How many turns were taken from the dead.
    pub async fn takeovers(&self) -> f64 {
        let counts = self.living().map(|replica| replica.metric("turn_takeovers_total{reason=\"died\"}"));
        join_all(counts).await.into_iter().sum()
    }

    /// Waits for the end of everything, and fails unless all that was accepted is found exactly once, wherever one looks:
    /// told in one piece to everybody who listened, by whom it was accepted, and known by its key.
    pub async fn must_balance(&self) {
        self.all_have_ended().await;
        self.is_well().await;
        for told in &self.told {
            let readers = told.readers.iter().filter(|reader| self.replicas[reader.at].is_live());
            let tales = join_all(readers.map(Reader::tale)).await;
            let turn = self.living().next().unwrap().ended(&told.turn).await;
            assert_eq!(turn["status"], "completed", "{turn}");
            for replica in self.living() {
                assert_eq!(replica.ended(&told.turn).await, turn);
                self.knows(told, replica).await;
                let log = replica.client.resume(&told.turn, "0-0").await.rest().await;
                tales.iter().for_each(|tale| tale.must_agree_with(&log));
                let guide = &applied(&log)["guide"];
                assert_eq!(
                    (&guide["content"], &guide["text"]),
                    (&turn["replies"][0]["content"], &guide["content"])
                );
            }
            self.is_remembered(told, &turn).await;
        }
        self.watch.must_be_content();
    }

    /// Waits until every replica answers a question for this conversation's messages like this.
    pub async fn is_told_everywhere(&self, told: &Told, status: u16) {
        let path = format!("/api/v1/conversations/{}/messages", told.conversation());
        for replica in self.living() {
            let is = async || replica.client.get(&path).await.status == status;
            eventually(&format!("{status} for {} at {}", told.conversation(), replica.address()), is).await;
        }
    }

    /// The conversation has the question and the answer, once, wherever one asks.
    async fn is_remembered(&self, told: &Told, turn: &Value) {
        let path = format!("/api/v1/conversations/{}/messages", told.conversation());
        let expected = [&told.body["message"], &turn["replies"][0]["content"]];
        for replica in self.living() {
            let messages = replica.client.get(&path).await.body;
            let said: Vec<_> =
                messages["data"].as_array().into_iter().flatten().map(|one| &one["content"]).collect();
            assert_eq!(said, expected, "{messages}");
        }
    }

    /// Fails unless each turn was told by who accepted it and nobody else.
    pub async fn nobody_took_a_turn(&self) {
        for replica in self.replicas.iter() {
            assert_eq!(replica.metric("turn_takeovers_total{reason=\"died\"}").await, 0.0);
            assert!(replica.logged("turn_fenced").is_empty());
        }
        assert_eq!(self.model.stats().requests, self.told.len() as u64);
    }

    /// Waits until so many lines of this event were written by all replicas together.
    pub async fn has_logged(&self, event: &str, count: usize) {
        let lines = || self.replicas.iter().map(|replica| replica.logged(event).len()).sum::<usize>();
        eventually(&format!("{event} is logged {count} times"), async || lines() >= count).await;
    }
}

async fn ask(replica: &Replica, key: &str, body: &Value) -> Answer {
    replica.client.post_with("/api/v1/turns", &[("Idempotency-Key", key)], body).await
}

/// What these tests are about. Limits are degraded whenever one decision misses its ceiling, as it may on a busy machine.
const FEATURES: [&str; 2] = ["turns", "memory"];

async fn is_degraded(replica: &Replica) {
    eventually("it says that it works without Redis", async || says(replica, true).await).await;
    eventually("it logs that", async || logged(replica, "redis_degraded") >= FEATURES.len()).await;
}

async fn is_well(replica: &Replica) {
    eventually("it says that all is well", async || {
        says(replica, false).await && replica.metric("memory_unconfirmed_messages").await == 0.0
    })
    .await;
    let balances = || logged(replica, "redis_degraded") == logged(replica, "redis_recovered");
    eventually("what was lost is said to be found again", async || balances()).await;
}

/// Whether it says, wherever it says such a thing, that Redis is missing, or that it is there.
async fn says(replica: &Replica, is_missing: bool) -> bool {
    let status = replica.status().await;
    let degraded = status["degraded"].as_array().unwrap();
    let listed = FEATURES.iter().all(|feature| degraded.contains(&json!(feature)) == is_missing);
    if !listed || status["redis"]["up"] == is_missing {
        // Asking takes what is asked for away from those who are to change it.
        sleep(Duration::from_millis(20)).await;
        return false;
    }
    let metrics = replica.management.get("/metrics").await.body;
    let is = |series: &str, value: f64| metric(metrics.as_str().unwrap(), series) == value;
    let [bad, good] = [is_missing, !is_missing].map(|holds| f64::from(u8::from(holds)));
    is("redis_up", good)
        && FEATURES.iter().all(|feature| is(&format!("feature_degraded{{feature=\"{feature}\"}}"), bad))
}

fn logged(replica: &Replica, event: &str) -> usize {
    let lines = replica.logged(event);
    lines.iter().filter(|line| FEATURES.iter().any(|feature| line["feature"] == *feature)).count()
}
