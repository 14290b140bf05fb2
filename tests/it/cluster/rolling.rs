//! Replicas are stopped as they should be: their turns go on elsewhere, and whoever was connected finds everything.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use polylogue::simulator::Rule;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Service;
use super::witness::{Witness, ask, count, epochs, in_time, log};
use crate::support::replicas::{Anywhere, Replica, Replicas, Tale, event_of};
use crate::support::{Answer, Socket, Sse, eventually, says};

/// Clients of each kind at once.
const CLIENTS: usize = 6;

#[tokio::test]
async fn a_planned_stop_hands_a_turn_over_at_once() {
    // Nobody would be missed within this test: what is handed over is not waited for.
    let service = Service::start(&["server.grace=1s", "turns.lease=60s"]).await;
    let hesitates = says("skeptic", ["But ", "which ", "Troy?"]).pausing_after(2);
    service.model.rules([says("historian", ["Yes."]), hesitates]);
    let [a, b, c] = service.replicas.first_chunk().unwrap();
    let turn = a.client.start_turn(ask("c")).await;
    let mut own = Vec::from(Witness::at_both(&a.client, &turn).await);
    let mut readers = Vec::from(Witness::at_both(&b.client, &turn).await);
    for reader in own.iter_mut().chain(&mut readers) {
        reader.until(|seen| count(seen, "reply.delta", "skeptic") == 2).await;
    }
    service.model.rules([says("skeptic", ["Which ", "one?"])]);

    let asked = Instant::now();
    a.terminate();
    for reader in &mut readers {
        reader.until(|seen| count(seen, "reply.reset", "skeptic") == 1).await;
    }
    eprintln!("SIGTERM to the first event of the new epoch, of which 1 s is grace: {:?}", asked.elapsed());
    let own = join_all(own.into_iter().map(Witness::until_cut)).await;
    assert_eq!(a.exit_code().await, Some(0));

    // Its own readers may have followed the turn to its end elsewhere before they were sent away.
    let (ended, cut): (Vec<_>, Vec<_>) = own.into_iter().partition(Tale::has_ended);
    for tale in cut {
        readers.push(Witness::by_stream(&c.client, tale).await);
    }
    let log_of = async |replica: &Replica| log(replica, &turn).await;
    let read = join_all(readers.into_iter().map(Witness::until_the_end)).await;
    for tale in read.iter().chain(&ended) {
        tale.must_agree_with(&log_of(b).await);
        assert_eq!(epochs(&tale.seen), 2);
    }
    let handed_over = "turn_takeovers_total{reason=\"handed_over\"}";
    assert_eq!(b.metric(handed_over).await + c.metric(handed_over).await, 1.0);
    assert_eq!(service.model.stats().requests, 3, "the historian was not asked again");
}

#[tokio::test]
async fn idle_sockets_are_warned_and_closed_one_after_the_other() {
    let service = Service::start(&["server.close_spread=2s"]).await;
    let [a, b, _] = service.replicas.first_chunk().unwrap();
    let mut sockets = Vec::new();
    for _ in 0..30 {
        sockets.push(a.client.socket().await);
    }
    a.terminate();
    let ends = join_all(sockets.iter_mut().map(async |socket: &mut Socket| {
        let warned = socket.until("draining").await.pop().unwrap();
        let close = socket.next().await.expect_err("closed").expect("with a frame");
        (warned["reconnect_after_ms"].as_u64().unwrap(), u16::from(close.code), Instant::now())
    }))
    .await;
    assert!(ends.iter().all(|(wait, code, _)| *wait <= 2_000 && *code == 1012), "{ends:?}");
    let (first, last) = (ends.iter().map(|end| end.2).min(), ends.iter().map(|end| end.2).max());
    let spread = last.unwrap() - first.unwrap();
    eprintln!("30 sockets closed over {spread:?}");
    assert!(spread > Duration::from_millis(500), "they went all at once");
    assert_eq!(a.exit_code().await, Some(0));
    b.client.socket().await;
}

/// What clients share while replicas come and go.
struct Load<'a> {
    anywhere: Anywhere<'a>,
    is_over: AtomicBool,
    answered: AtomicUsize,
    warned: AtomicUsize,
    closed: AtomicUsize,
}

impl Load<'_> {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    fn body(&self) -> Value {
        let conversation = format!("c{:x}", self.anywhere.number());
        json!({"message": "tell me", "personas": ["guide"], "conversation_id": conversation})
    }

    /// Waits for answers, asks again with the same key when it is refused or cut off.
    async fn waits(&self) -> Vec<Tale> {
        while self.goes_on() {
            let (body, key) = (self.body(), format!("{:x}", self.anywhere.number()));
            let answer = self.persists(async |replica| {
                let request = replica.client.client.post(replica.client.url("/api/v1/chat"));
                let response = request.header("Idempotency-Key", &key).json(&body).send().await.ok()?;
                let (status, headers) = (response.status().as_u16(), response.headers().clone());
                let body: Value = serde_json::from_slice(&response.bytes().await.ok()?).ok()?;
                let answer = Answer { status, headers, body };
                assert!(answer.status == 200 || is_passing(&answer), "{answer:?}");
                (answer.status == 200).then_some(answer)
            });
            let turn = answer.await.body;
            assert_eq!(turn["status"], "completed", "{turn}");
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        Vec::new()
    }

    /// Reads streams, and resumes them elsewhere.
    async fn reads(&self) -> Vec<Tale> {
        let mut tales = Vec::new();
        while self.goes_on() {
            let (body, key) = (self.body(), format!("{:x}", self.anywhere.number()));
            let mut tale = Tale::default();
            let stream = self.persists(async |replica| {
                let request = replica.client.client.post(replica.client.url("/api/v1/chat/stream"));
                let stream = Sse::of(request.header("Idempotency-Key", &key).json(&body).send().await.ok()?);
                assert!([200, 503].contains(&stream.status), "{}", stream.status);
                (stream.status == 200).then_some(stream)
            });
            let mut stream = stream.await;
            tale.turn = stream.turn();
            loop {
                tale.visits += 1;
                while let Ok(Some(event)) = stream.try_next().await {
                    tale.seen.push(event);
                }
                if tale.has_ended() {
                    break;
                }
                stream = self.resumes(&tale).await;
            }
            tales.push(tale);
        }
        tales
    }

    async fn resumes(&self, tale: &Tale) -> Sse {
        let path = format!("/api/v1/turns/{}/events", tale.turn);
        self.persists(async |replica| {
            let request = replica.client.client.get(replica.client.url(&path));
            let response = request.header("Last-Event-ID", tale.last_id()).send().await.ok()?;
            // One that stops may not answer; one that answers knows the turn.
            assert!([200, 503].contains(&response.status().as_u16()), "{response:?}");
            (response.status() == 200).then(|| Sse::of(response))
        })
        .await
    }

    /// Talks on sockets, and goes to another replica with its turns when one closes.
    async fn talks(&self) -> Vec<Tale> {
        let mut tales = Vec::new();
        let mut socket = self.opens().await;
        while self.goes_on() {
            let (reference, mut tale) = (format!("{:x}", self.anywhere.number()), Tale::default());
            let mut chat = self.body();
            chat["type"] = "chat".into();
            chat["ref"] = reference.as_str().into();
            let mut frame = chat.clone();
            while !tale.has_ended() {
                tale.visits += 1;
                if socket.try_send(frame.clone()).await.is_ok() {
                    self.listens(&mut socket, &mut tale).await;
                }
                if tale.has_ended() {
                    break;
                }
                socket = self.opens().await;
                // A turn that nobody has told of is asked for again: its reference is its key.
                frame = if tale.turn.is_empty() {
                    chat.clone()
                } else {
                    json!({"type": "resume", "ref": reference, "turn_id": tale.turn, "after": tale.last_id()})
                };
            }
            tales.push(tale);
        }
        tales
    }

    /// Takes in what a socket says until the turn ends, or the socket does.
    async fn listens(&self, socket: &mut Socket, tale: &mut Tale) {
        while !tale.has_ended() {
            match socket.next().await {
                Ok(frame) if frame["type"] == "draining" => drop(self.warned.fetch_add(1, Ordering::Relaxed)),
                Ok(frame) if frame["type"] == "error" => {
                    assert_eq!(frame["error"]["code"], "draining", "{frame}");
                    return;
                }
                Ok(mut frame) => {
                    if frame.as_object_mut().unwrap().remove("ref").is_some() {
                        tale.turn = frame["turn_id"].as_str().unwrap().to_owned();
                        tale.seen.push(event_of(frame));
                    }
                }
                Err(close) => {
                    let code = close.map(|close| u16::from(close.code));
                    self.closed.fetch_add(usize::from(code == Some(1012)), Ordering::Relaxed);
                    return;
                }
            }
        }
    }

    async fn opens(&self) -> Socket {
        self.persists(async |replica| Socket::try_open(&replica.address()).await.ok()).await
    }

    /// Tries here and there until somebody answers.
    async fn persists<T>(&self, attempt: impl AsyncFn(&Replica) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(answer) = attempt(self.anywhere.replica()).await {
                return answer;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "nobody answers");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Whether another try elsewhere may be accepted.
fn is_passing(answer: &Answer) -> bool {
    answer.status == 503
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_loses_nothing() {
    let settings = ["server.grace=300ms", "server.close_spread=200ms", "turns.lease=60s"];
    let service = Service::start(&settings).await;
    service.model.rules([Rule::says((0..20).map(|number| format!("{number} ")))]);
    service.model.change(|settings| settings.token_gap_ms = 40);
    let count = AtomicUsize::default;
    let anywhere = service.replicas.anywhere(Replicas::seed());
    let is_over = AtomicBool::new(false);
    let load = Load { anywhere, is_over, answered: count(), warned: count(), closed: count() };

    let roll = async {
        for replica in service.replicas.iter() {
            let before = load.answered.load(Ordering::Relaxed);
            in_time("all is well", async || load.answered.load(Ordering::Relaxed) >= before + CLIENTS).await;
            replica.terminate();
            assert_eq!(replica.exit_code().await, Some(0));
            replica.restart().await;
        }
        load.is_over.store(true, Ordering::Relaxed);
    };
    let waits = join_all((0..CLIENTS).map(|_| load.waits()));
    let reads = join_all((0..CLIENTS).map(|_| load.reads()));
    let talks = join_all((0..CLIENTS).map(|_| load.talks()));
    let (waited, read, talked, ()) = tokio::join!(waits, reads, talks, roll);

    let tales: Vec<_> = waited.into_iter().chain(read).chain(talked).flatten().collect();
    let mut moved = 0;
    for tale in &tales {
        let log = log(&service.replicas[0], &tale.turn).await;
        tale.must_agree_with(&log);
        assert_eq!(log.last().unwrap().name, "turn.completed", "{log:#?}");
        moved += usize::from(epochs(&log) > 1);
    }
    let Load { answered, warned, closed, .. } = &load;
    eprintln!(
        "{} told, {moved} of them moved; {answered:?} answered, {warned:?} warned, {closed:?} closed",
        tales.len()
    );
    assert!(moved > 0 && warned.load(Ordering::Relaxed) > 0 && closed.load(Ordering::Relaxed) > 0);
    eventually("nothing is left", async || service.model.stats().in_flight == 0).await;
}
