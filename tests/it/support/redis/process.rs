use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;
use std::{fs, io};

use tokio::io::BufStream;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

use super::super::{Folder, OwnProcess};
use super::resp::{self, Reply};

/// More than a busy machine needs; a test that gets here has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// One `redis-server`, as a server or as a Sentinel, in a folder of its own. The test asks it by a socket in that folder,
/// so that neither TLS nor a proxy nor another server on its port is in the way.
pub struct Process {
    // Before the folder, which a dying server would still write into.
    child: Mutex<Option<OwnProcess>>,
    folder: Folder,
    mode: &'static [&'static str],
    /// What says who asks; empty if nobody needs to.
    login: Vec<String>,
}

impl Process {
    /// Prepares a server with these lines as its configuration.
    pub fn server(lines: &str, login: Vec<String>) -> Self {
        Self::new(&[], lines, login)
    }

    /// Prepares a Sentinel.
    pub fn sentinel(lines: &str) -> Self {
        Self::new(&["--sentinel"], lines, Vec::new())
    }

    fn new(mode: &'static [&'static str], lines: &str, login: Vec<String>) -> Self {
        let process = Self { folder: Folder::new(), mode, login, child: Mutex::default() };
        let folder = process.folder.path().display();
        let own = format!("bind 127.0.0.1\ndir {folder}\nunixsocket {folder}/socket\nlogfile {folder}/log\n");
        fs::write(process.path("redis.conf"), own + lines).unwrap();
        process
    }

    /// A file in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs it and waits until it answers; false if it ends instead, its port being taken.
    pub async fn comes_up(&self) -> bool {
        let mut command = Command::new("redis-server");
        command.arg(self.path("redis.conf")).args(self.mode).stdin(Stdio::null()).stdout(Stdio::null());
        *self.child.lock().unwrap() = Some(OwnProcess::of(&mut command));
        let began = Instant::now();
        loop {
            if self.ask(&["PING"]).await.is_ok_and(|pong| pong == "PONG") {
                return true;
            }
            if self.with(OwnProcess::ended).is_some() {
                return false;
            }
            assert!(began.elapsed() < PATIENCE, "redis-server does not answer: {}", self.log());
            sleep(Duration::from_millis(2)).await;
        }
    }

    fn with<T>(&self, what: impl FnOnce(&OwnProcess) -> T) -> T {
        what(self.child.lock().unwrap().as_ref().expect("it was started"))
    }

    /// Ends it at once.
    pub fn kill_9(&self) {
        self.with(OwnProcess::kill_9);
    }

    /// Makes it stand still.
    pub fn pause(&self) {
        self.with(OwnProcess::pause);
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.with(OwnProcess::go_on);
    }

    /// Whether it neither ended nor stands still.
    pub fn is_live(&self) -> bool {
        self.with(OwnProcess::is_live)
    }

    /// Sends one command and waits for the answer; what is not answered is an error too.
    pub async fn ask(&self, command: &[&str]) -> Reply {
        self.ask_in_turn(&[command]).await
    }

    /// Sends commands on one connection; the answer to the last.
    pub async fn ask_in_turn(&self, commands: &[&[&str]]) -> Reply {
        let answer = async {
            let mut stream = BufStream::new(UnixStream::connect(self.path("socket")).await?);
            let login: Vec<&str> = self.login.iter().map(String::as_str).collect();
            let first = Some(login.as_slice()).filter(|login| !login.is_empty());
            let mut last = Err("no command".into());
            for command in first.iter().chain(commands) {
                last = resp::ask(&mut stream, command).await?;
            }
            Ok(last)
        };
        match timeout(PATIENCE, answer).await {
            Ok(answer) => answer.unwrap_or_else(|error: io::Error| Err(error.to_string())),
            Err(_) => Err("no answer".into()),
        }
    }

    /// What it logged, for the message of a test that fails.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}
