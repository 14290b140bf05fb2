//! How the program stops: nobody is cut off who can still be served.

use std::time::Duration;

use polylogue::simulator::Rule;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::service::Service;
use crate::support::{Client, Socket, Sse, eventually, model};

/// The order in which everything goes (`design.md` §8).
const LAST_STEPS: [&str; 4] =
    ["application_shutting_down", "websocket_manager_stopped", "llm_manager_shutdown", "application_stopped"];

/// A model that says two words and then waits until the test lets it go on.
fn hesitates() -> Rule {
    Rule::says(["Once ", "upon ", "a time."]).pausing_after(2)
}

fn ask(conversation: &str) -> Value {
    json!({"message": "tell me", "personas": ["guide"], "conversation_id": conversation})
}

fn frame(reference: &str, conversation: &str) -> Value {
    let mut frame = ask(conversation);
    frame.as_object_mut().unwrap().extend([("type".into(), "chat".into()), ("ref".into(), reference.into())]);
    frame
}

/// Somebody at each door, each waiting for a turn that has begun to answer.
struct Everybody {
    stream: Sse,
    json: tokio::task::JoinHandle<crate::support::Answer>,
    socket: Socket,
}

impl Everybody {
    async fn ask(client: &Client) -> Self {
        let mut stream = client.stream(ask("streamed")).await;
        stream.until("reply.delta").await;
        let mut socket = client.socket().await;
        socket.send(frame("c-1", "on-a-socket")).await;
        socket.until("reply.delta").await;
        let caller = client.clone();
        #[expect(clippy::disallowed_methods, reason = "a client of the test's own")]
        let json = tokio::spawn(async move { caller.post("/api/v1/chat", ask("waited-for")).await });
        let waits =
            async || client.get("/api/v1/conversations/waited-for").await.body["active_turn_id"].is_string();
        eventually("the waiting caller's turn runs", waits).await;
        Self { stream, json, socket }
    }
}

#[tokio::test]
async fn turns_in_flight_finish_and_everybody_hears_their_end() {
    let (model, controls) = model().await;
    controls.rules([hesitates()]);
    let settings = ["server.drain_delay=50ms", "server.close_spread=10ms"];
    let (mut service, client, management) = Service::on(&model, &settings).await;
    let Everybody { stream, json, mut socket } = Everybody::ask(&client).await;
    let mut late = Late::begin(&client).await;

    service.signal("-TERM");
    eventually("it is no longer ready", async || management.get("/readyz").await.status == 503).await;
    service.until_phase("draining").await;
    let draining = socket.until("draining").await;
    assert!(draining.last().unwrap()["reconnect_after_ms"].is_u64());

    socket.send(frame("c-2", "another")).await;
    let refused = socket.until("error").await.pop().unwrap();
    assert_eq!((&refused["ref"], &refused["error"]["code"]), (&json!("c-2"), &json!("draining")));
    let refused = late.answer().await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("problem-code: draining"), "{refused}");
    assert!(refused.contains("retry-after: ") && refused.contains("connection: close"), "{refused}");
    for path in ["/livez", "/metrics"] {
        assert_eq!(management.get(path).await.status, 200, "{path} while turns finish");
    }

    controls.go_on();
    assert_eq!(stream.rest().await.pop().unwrap().name, "turn.completed");
    assert_eq!(json.await.unwrap().body["replies"][0]["content"], "Once upon a time.");
    socket.until("turn.completed").await;
    let close = socket.next().await.unwrap_err().unwrap();
    assert_eq!((u16::from(close.code), close.reason.as_str()), (1012, "service_restart"));
    assert_eq!(service.exit_code().await, Some(0));
    service.rest().await;
    assert!(service.saw_in_order(&LAST_STEPS), "{:?}", service.seen);
    assert_eq!(service.seen.last().unwrap(), "application_stopped");
}

#[tokio::test]
async fn a_turn_that_outlasts_the_grace_says_that_the_server_is_stopping() {
    let (model, controls) = model().await;
    controls.rules([hesitates()]);
    let settings = ["server.grace=50ms", "server.close_spread=10ms"];
    let (mut service, client, _) = Service::on(&model, &settings).await;
    let Everybody { stream, json, mut socket } = Everybody::ask(&client).await;
    let began = Instant::now();

    service.signal("-TERM");

    let end = stream.rest().await.split_off(0);
    let [.., reply, turn] = &end[..] else { panic!("{end:#?}") };
    assert_eq!((reply.name.as_str(), &reply.data["error"]["code"]), ("reply.failed", &json!("draining")));
    assert_eq!((turn.name.as_str(), &turn.data["error"]["code"]), ("turn.failed", &json!("draining")));
    let answer = json.await.unwrap();
    assert_eq!((answer.status, answer.code()), (503, "draining"), "{answer:?}");
    assert_eq!(answer.body["turn_id"], answer.header("turn-id"));
    let ended = socket.until("turn.failed").await.pop().unwrap();
    assert_eq!(ended["error"]["code"], "draining");
    assert_eq!(u16::from(socket.next().await.unwrap_err().unwrap().code), 1012);
    assert_eq!(service.exit_code().await, Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "last words are not waited for once they are said");
    service.rest().await;
    assert!(service.saw_in_order(&LAST_STEPS), "{:?}", service.seen);
    eventually("the model is no longer asked", async || controls.stats().in_flight == 0).await;
}

#[tokio::test]
async fn a_signal_stops_an_idle_service_at_once_and_cleanly() {
    for signal in ["-TERM", "-INT"] {
        let mut service = Service::start(&[]);
        let ready = service.until("application_ready").await;
        for member in ["time", "level", "message", "service", "version", "replica"] {
            assert!(ready[member].is_string(), "{member} is missing in {ready}");
        }
        // Idle connections are nothing to wait for.
        let client = Client::of(ready["listen"].as_str().unwrap());
        assert_eq!(client.get("/livez").await.status, 200);
        service.signal(signal);
        service.until("application_shutting_down").await;
        let began = Instant::now();
        assert!(service.until("shutdown_phase").await["duration_ms"].is_u64());
        service.rest().await;
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", service.seen);
        assert_eq!(service.exit_code().await, Some(0));
        assert!(service.saw_in_order(&LAST_STEPS), "{:?}", service.seen);
        assert_eq!(service.seen.last().unwrap(), "application_stopped");
    }
}

#[tokio::test]
async fn a_second_signal_ends_the_service_at_once() {
    for delay in ["server.drain_delay=1h", "server.grace=1h"] {
        let (model, controls) = model().await;
        controls.rules([hesitates()]);
        let (mut service, client, _) = Service::on(&model, &[delay]).await;
        let mut stream = client.stream(ask("c")).await;
        stream.until("reply.delta").await;
        service.signal("-TERM");
        service.until("application_shutting_down").await;
        service.signal("-INT");
        assert_eq!(service.exit_code().await, Some(143));
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_does_not_end_the_service() {
    let mut service = Service::start(&[]);
    service.until("application_ready").await;
    service.lines = None;
    service.signal("-TERM");
    assert_eq!(service.exit_code().await, Some(0));
}

/// A request of which the last byte has not been sent yet.
struct Late {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl Late {
    async fn begin(client: &Client) -> Self {
        let mut stream = TcpStream::connect(client.base.trim_start_matches("http://")).await.unwrap();
        let body = ask("late").to_string();
        let length = body.len();
        let head = format!(
            "POST /api/v1/turns HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        Self { stream, rest: body.into_bytes() }
    }

    /// Sends what is missing and reads the whole answer.
    async fn answer(&mut self) -> String {
        self.stream.write_all(&self.rest).await.unwrap();
        let mut answer = String::new();
        let read = self.stream.read_to_string(&mut answer);
        timeout(Duration::from_secs(20), read).await.expect("no answer").unwrap();
        answer.to_lowercase().replacen("http/1.1", "HTTP/1.1", 1)
    }
}
