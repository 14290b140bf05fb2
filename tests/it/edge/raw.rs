//! An HTTP/1 client that sends exactly the bytes it is told, and sees every byte that comes back.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longer than anything here takes, shorter than a test's patience.
const PATIENCE: Duration = Duration::from_secs(5);

pub struct Client<IO = TcpStream> {
    io: IO,
    buffer: Vec<u8>,
}

/// An answer; `body` is `None` where the connection ended before the body was complete.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone().unwrap()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(self.body.as_ref().unwrap()).unwrap()
    }

    /// Checks that the answer is a problem with every member that each has, and returns it.
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!((self.status, self.header("problem-code")), (status, Some(code)), "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.header("cache-control"), Some("no-store"));
        let problem = self.json();
        let id = self.header("x-request-id").unwrap();
        assert_eq!(problem["type"], format!("/problems/{code}"));
        assert_eq!((&problem["status"], &problem["code"]), (&status.into(), &code.into()));
        assert_eq!(
            (&problem["request_id"], &problem["instance"]),
            (&id.into(), &format!("urn:polylogue:request:{id}").into())
        );
        for member in ["title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        }
        problem
    }
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Client<IO> {
    pub fn over(io: IO) -> Self {
        Self { io, buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.io.write_all(bytes.as_ref()).await.unwrap();
        self
    }

    /// Sends a request without a body; `headers` as `Name: value\r\n` lines.
    pub async fn ask(&mut self, method: &str, path: &str, headers: &str) -> Answer {
        self.send(format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n")).await;
        self.answer_to(method).await
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    pub async fn post(&mut self, path: &str, content_type: &str, body: &str) -> Answer {
        let length = body.len();
        let head = format!("Content-Type: {content_type}\r\nContent-Length: {length}\r\n");
        self.send(format!("POST {path} HTTP/1.1\r\nHost: test\r\n{head}\r\n{body}")).await;
        self.answer().await
    }

    pub async fn answer(&mut self) -> Answer {
        self.answer_to("GET").await
    }

    pub async fn answer_to(&mut self, method: &str) -> Answer {
        let head = self.until(b"\r\n\r\n").await.expect("a head");
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let split =
            |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let mut answer = Answer { status, headers: lines.filter_map(split).collect(), body: None };
        answer.body = match (method, status) {
            ("HEAD", _) | (_, 101 | 204 | 304) => Some(Vec::new()),
            _ if answer.header("transfer-encoding").is_some() => self.chunked().await,
            _ => self.exactly(answer.header("content-length").map_or(0, |it| it.parse().unwrap())).await,
        };
        answer
    }

    /// The next bytes up to and with `end`; `None` if the connection ends before.
    pub async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return Some(self.buffer.drain(..at + end.len()).collect());
            }
            self.more().await?;
        }
    }

    pub async fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            self.more().await?;
        }
        Some(self.buffer.drain(..length).collect())
    }

    async fn chunked(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = String::from_utf8(self.until(b"\r\n").await?).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let chunk = self.exactly(size + 2).await?;
            if size == 0 {
                return Some(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }

    /// Whether the server has closed the connection, after at most what is left to read.
    pub async fn is_closed(&mut self) -> bool {
        while self.more().await.is_some() {}
        true
    }

    async fn more(&mut self) -> Option<()> {
        let read = tokio::time::timeout(PATIENCE, self.io.read_buf(&mut self.buffer));
        match read.await.expect("the server neither answers nor closes") {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(()),
        }
    }
}
