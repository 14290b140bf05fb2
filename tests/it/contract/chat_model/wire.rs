//! An upstream made by hand: what it writes on the wire is what the test says, byte by byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use polylogue::shutdown::Shutdown;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Duration, Instant, timeout};

/// Bounds every wait of these tests.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// One thing an upstream does on a connection.
#[derive(Clone, Debug)]
pub enum Step {
    /// Writes this, in one write.
    Send(String),
    /// Does nothing until the client hangs up.
    Stall,
    /// Goes on when this many requests have come.
    UntilAsked(usize),
    /// Hangs up.
    HangUp,
}

/// What the client sent.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The header, in lower case.
    pub head: String,
    /// The body.
    pub body: Value,
    /// When it had come.
    pub at: Instant,
}

pub struct Upstream {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    answer: Box<dyn Fn(usize) -> Vec<Step> + Send + Sync>,
    asked: Mutex<Vec<Asked>>,
    asked_count: watch::Sender<usize>,
    accepted: watch::Sender<usize>,
    hung_up: watch::Sender<usize>,
}

impl Upstream {
    /// Answers every request with these steps.
    pub async fn that(steps: Vec<Step>) -> Self {
        Self::answering(move |_| steps.clone()).await
    }

    /// Answers the nth request (from 1) as `answer` says.
    pub async fn answering(answer: impl Fn(usize) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            answer: Box::new(answer),
            asked: Mutex::default(),
            asked_count: watch::Sender::new(0),
            accepted: watch::Sender::new(0),
            hung_up: watch::Sender::new(0),
        });
        let (tasks, serving) = (Shutdown::new(), shared.clone());
        tasks.clone().spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                serving.accepted.send_modify(|n| *n += 1);
                let shared = serving.clone();
                tasks.spawn(async move {
                    shared.connection(socket).await;
                });
            }
        });
        Self { address, shared }
    }

    /// An address where nobody listens.
    pub async fn nobody() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    /// Everything it was asked.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// How often it was asked.
    pub fn times_asked(&self) -> usize {
        *self.shared.asked_count.borrow()
    }

    /// Connections so far.
    pub fn accepted(&self) -> usize {
        *self.shared.accepted.borrow()
    }

    /// Waits until it was asked this often.
    pub async fn until_asked(&self, times: usize) {
        let mut asked = self.shared.asked_count.subscribe();
        timeout(PATIENCE, asked.wait_for(|n| *n >= times)).await.expect("asked in time").unwrap();
    }

    /// Waits until the client has closed this many connections.
    pub async fn until_hung_up(&self, times: usize) {
        let mut hung_up = self.shared.hung_up.subscribe();
        timeout(PATIENCE, hung_up.wait_for(|n| *n >= times)).await.expect("closed in time").unwrap();
    }
}

impl Shared {
    async fn connection(&self, mut socket: TcpStream) {
        socket.set_nodelay(true).unwrap();
        while let Some(asked) = read_request(&mut socket).await {
            let number = {
                let mut all = self.asked.lock().unwrap();
                all.push(asked);
                all.len()
            };
            self.asked_count.send_replace(number);
            for step in (self.answer)(number) {
                match step {
                    Step::Send(text) => {
                        if socket.write_all(text.as_bytes()).await.is_err() {
                            break;
                        }
                    }
                    Step::UntilAsked(times) => {
                        self.asked_count.subscribe().wait_for(|n| *n >= times).await.unwrap();
                    }
                    Step::Stall => {
                        let _end = socket.read(&mut [0; 1]).await;
                        self.hung_up.send_modify(|n| *n += 1);
                        return;
                    }
                    Step::HangUp => return,
                }
            }
        }
        self.hung_up.send_modify(|n| *n += 1);
    }
}

async fn read_request(socket: &mut TcpStream) -> Option<Asked> {
    let mut read = Vec::new();
    let head_end = loop {
        if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(read[..head_end].to_vec()).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.unwrap().trim().parse().unwrap();
    while read.len() < head_end + length {
        if socket.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
    let body = serde_json::from_slice(&read[head_end..head_end + length]).unwrap();
    Some(Asked { head, body, at: Instant::now() })
}

/// The beginning of an event stream.
pub fn stream_head() -> Step {
    Step::Send(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".into(),
    )
}

/// One line of an event stream, as one chunk of the transfer encoding, in one write.
pub fn line(line: &str) -> Step {
    let line = format!("{line}\n\n");
    Step::Send(format!("{:x}\r\n{line}\r\n", line.len()))
}

/// One event.
pub fn event(data: &Value) -> Step {
    line(&format!("data: {data}"))
}

/// A piece of text as most providers send it.
pub fn text(text: &str) -> Step {
    event(&json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_795_460_442, "model": "m-2026",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}],
    }))
}

/// The chunk that says why the model stopped.
pub fn finish(reason: &str) -> Step {
    event(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}))
}

/// The chunk that says what it cost.
pub fn usage(input: u64, output: u64) -> Step {
    event(&json!({"choices": [], "usage": {"prompt_tokens": input, "completion_tokens": output}}))
}

/// The last event, and, in a write of its own, the end of the response.
pub fn done() -> [Step; 2] {
    [line("data: [DONE]"), Step::Send("0\r\n\r\n".into())]
}

/// A whole event stream.
pub fn stream(events: impl IntoIterator<Item = Step>) -> Vec<Step> {
    [stream_head()].into_iter().chain(events).chain(done()).collect()
}

/// A whole short answer.
pub fn says(words: &str) -> Vec<Step> {
    stream([text(words), finish("stop")])
}

/// A response that is not streamed.
pub fn response(status: &str, headers: &str, body: &str) -> Vec<Step> {
    let length = body.len();
    vec![Step::Send(format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}"))]
}

/// A server's own fault.
pub fn fault() -> Vec<Step> {
    response("500 Internal Server Error", "", "<html>oops</html>")
}
