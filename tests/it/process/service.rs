//! The real program as a child process, and what it logs.

use std::process::{Command, Stdio};
use std::time::Duration;

use polylogue::simulator::Simulator;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

use crate::support::{Client, polylogue};

/// More than a busy machine needs; a test that gets here has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running service; killed when dropped.
pub struct Service {
    pub child: Child,
    /// Until the test stops reading.
    pub lines: Option<tokio::io::Lines<BufReader<ChildStdout>>>,
    /// The names of all events read so far, in order.
    pub seen: Vec<String>,
}

impl Service {
    /// Starts the service on free ports.
    pub fn start(arguments: &[&str]) -> Self {
        let free = ["--listen", "127.0.0.1:0", "--management-listen", "127.0.0.1:0"];
        Self::spawn(&[arguments, &free].concat())
    }

    /// Runs the program with exactly these arguments.
    pub fn spawn(arguments: &[&str]) -> Self {
        let mut command: tokio::process::Command = polylogue(arguments, &[]).into();
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines: Some(lines), seen: Vec::new() }
    }

    /// Starts the service on a model that the test controls, and waits until both can be called.
    pub async fn on(model: &Simulator, settings: &[&str]) -> (Self, Client, Client) {
        let model = [format!("llm.base_url={}", model.base_url()), "llm.model=any".into()];
        let all = model.iter().map(String::as_str).chain(settings.iter().copied());
        let arguments: Vec<_> = all.flat_map(|setting| ["--set", setting]).collect();
        let mut service = Self::start(&arguments);
        let ready = service.until("application_ready").await;
        let client = |member: &str| Client::of(ready[member].as_str().unwrap());
        (service, client("listen"), client("management_listen"))
    }

    /// Reads log lines up to the one of this event.
    pub async fn until(&mut self, event: &str) -> Value {
        self.until_line(event, |line| line["event"] == event).await
    }

    /// Reads log lines up to the one that ends this phase of the stop.
    pub async fn until_phase(&mut self, phase: &str) -> Value {
        self.until_line(phase, |line| line["event"] == "shutdown_phase" && line["phase"] == phase).await
    }

    async fn until_line(&mut self, name: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.line().await;
            let line = line.unwrap_or_else(|| panic!("the log ended before {name}: {:?}", self.seen));
            if is_it(&line) {
                return line;
            }
        }
    }

    /// Reads the log to its end.
    pub async fn rest(&mut self) {
        while self.line().await.is_some() {}
    }

    async fn line(&mut self) -> Option<Value> {
        let lines = self.lines.as_mut().unwrap();
        let line = timeout(PATIENCE, lines.next_line()).await.expect("the log is silent").unwrap()?;
        let line: Value = serde_json::from_str(&line).unwrap();
        self.seen.extend(line["event"].as_str().map(str::to_owned));
        Some(line)
    }

    /// Sends a signal, `-TERM` for example.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Waits for the end; `None` if a signal was the end.
    pub async fn exit_code(&mut self) -> Option<i32> {
        timeout(PATIENCE, self.child.wait()).await.expect("the process does not end").unwrap().code()
    }

    /// Whether these events were logged in this order, whatever else was between them.
    pub fn saw_in_order(&self, events: &[&str]) -> bool {
        let mut seen = self.seen.iter();
        events.iter().all(|event| seen.any(|known| known == event))
    }
}
