use std::collections::VecDeque;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::time::timeout;

use super::documented;

/// One event as it came over the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct SseEvent {
    pub id: String,
    pub name: String,
    pub data: Value,
}

/// A client of an event stream, written from the standard and not from the server.
pub struct Sse {
    pub status: u16,
    pub headers: HeaderMap,
    body: BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    buffer: Vec<u8>,
    ready: VecDeque<SseEvent>,
    pub comments: usize,
    /// How long to wait before connecting again, in milliseconds, as the server said it last.
    pub retry: Option<u64>,
}

impl Sse {
    pub fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes_stream().boxed();
        Self { status, headers, body, buffer: Vec::new(), ready: VecDeque::new(), comments: 0, retry: None }
    }

    /// The turn that is streamed.
    pub fn turn(&self) -> String {
        self.headers["turn-id"].to_str().unwrap().to_owned()
    }

    /// The next event; `None` when the stream has ended well.
    pub async fn next(&mut self) -> Option<SseEvent> {
        let next = timeout(Duration::from_secs(20), self.try_next()).await.expect("the stream is silent");
        next.expect("the stream broke")
    }

    /// The next event, of a stream that may break.
    pub async fn try_next(&mut self) -> reqwest::Result<Option<SseEvent>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.read().await?.is_none() {
                return Ok(None);
            }
        }
    }

    /// Reads on until this many comments have come.
    pub async fn until_comments(&mut self, count: usize) {
        while self.comments < count {
            let read = timeout(Duration::from_secs(20), self.read()).await.expect("the stream is silent");
            read.unwrap().expect("the stream has ended");
        }
    }

    async fn read(&mut self) -> reqwest::Result<Option<()>> {
        let Some(bytes) = self.body.next().await.transpose()? else { return Ok(None) };
        // Where an end may be that was not there before: looking at all of a long event again and again is slow.
        let mut from = self.buffer.len().saturating_sub(1);
        self.buffer.extend_from_slice(&bytes);
        while let Some(end) = self.buffer[from..].windows(2).position(|pair| pair == b"\n\n") {
            let block = self.buffer.drain(..from + end + 2).collect();
            self.take(&String::from_utf8(block).unwrap());
            from = 0;
        }
        Ok(Some(()))
    }

    fn take(&mut self, block: &str) {
        let mut event = SseEvent { id: String::new(), name: String::new(), data: Value::Null };
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("id", id)) => event.id = id.to_owned(),
                Some(("event", name)) => event.name = name.to_owned(),
                Some(("data", data)) => event.data = serde_json::from_str(data).unwrap(),
                Some(("retry", wait)) => self.retry = Some(wait.parse().unwrap()),
                Some(("", _)) => self.comments += 1,
                _ => {}
            }
        }
        if !event.data.is_null() {
            documented::event(&event.data);
            self.ready.push_back(event);
        }
    }

    /// Everything up to and with the first event of this name.
    pub async fn until(&mut self, name: &str) -> Vec<SseEvent> {
        let mut seen = Vec::new();
        while let Some(event) = self.next().await {
            let found = event.name == name;
            seen.push(event);
            if found {
                return seen;
            }
        }
        panic!("no {name} among {seen:#?}");
    }

    /// Everything that is still to come.
    pub async fn rest(mut self) -> Vec<SseEvent> {
        let mut seen = Vec::new();
        while let Some(event) = self.next().await {
            seen.push(event);
        }
        seen
    }
}
