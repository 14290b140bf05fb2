use std::fs;

use super::super::Certificates;
use super::super::{eventually, ports};
use super::process::Process;
use super::resp::{self, Reply};

/// How often another port is tried.
const TRIES: usize = 10;

/// A Redis server, as it is wished for.
#[derive(Default)]
pub struct Builder {
    login: Option<(String, String)>,
    tls: bool,
    lines: String,
}

impl Builder {
    /// Asks everybody for this password.
    pub fn password(self, password: &str) -> Self {
        let line = format!("requirepass {password}");
        Self { login: Some((String::new(), password.to_owned())), ..self }.line(&line)
    }

    /// Lets nobody in but this user, who may do everything.
    pub fn user(self, name: &str, password: &str) -> Self {
        let line = format!("user {name} on >{password} ~* &* +@all\nuser default off");
        Self { login: Some((name.to_owned(), password.to_owned())), ..self }.line(&line)
    }

    /// Keeps what it has answered for, also through `kill -9`.
    pub fn durable(self) -> Self {
        self.line("appendonly yes\nappendfsync always")
    }

    /// Speaks TLS alone, to clients with a certificate of its own authority.
    pub fn tls(self) -> Self {
        Self { tls: true, ..self }
    }

    /// Has a bound, and does this when it is reached: `noeviction` for example.
    pub fn max_memory(self, bytes: &str, policy: &str) -> Self {
        self.line(&format!("maxmemory {bytes}\nmaxmemory-policy {policy}"))
    }

    /// One more line of its configuration; a later one counts.
    pub fn line(self, line: &str) -> Self {
        Self { lines: self.lines + line + "\n", ..self }
    }

    /// Starts it on a free port and waits until it answers.
    pub async fn start(self) -> RedisServer {
        for _ in 0..TRIES {
            let server = RedisServer::new(ports::free(), &self);
            if server.process.comes_up().await {
                return server;
            }
            eprintln!("another port, after: {}", server.process.log());
        }
        panic!("redis-server does not start");
    }
}

/// A running server; killed when dropped.
pub struct RedisServer {
    pub port: u16,
    process: Process,
    /// What its URL says before the host.
    login: String,
    certificates: Option<Certificates>,
}

/// Nothing is kept on disk, replicas are filled at once, and tests may look inside.
const QUICK: &str = "save \"\"\nappendonly no\nrepl-diskless-sync-delay 0\nenable-debug-command yes\nmaxmemory-policy noeviction\n";

impl RedisServer {
    /// Starts an ordinary one.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Describes another one.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn new(port: u16, wanted: &Builder) -> Self {
        let certificates = wanted.tls.then(Certificates::make);
        let door = match &certificates {
            None => format!("port {port}\n"),
            Some(certificates) => format!("port 0\ntls-port {port}\n{}", certificates.of_redis()),
        };
        let (login, words) = match &wanted.login {
            None => (String::new(), Vec::new()),
            Some((user, password)) => {
                let who = if user.is_empty() { "default" } else { user };
                (format!("{user}:{password}@"), ["AUTH", who, password].map(str::to_owned).into())
            }
        };
        let process = Process::server(&[QUICK, &door, &wanted.lines].concat(), words);
        Self { port, process, login, certificates }
    }

    /// What a client takes to reach it.
    pub fn url(&self) -> String {
        let scheme = if self.certificates.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://{}{}", self.login, self.address())
    }

    /// The same by way of another address, a proxy's for example.
    pub fn url_by(&self, address: &str) -> String {
        self.url().replace(&self.address(), address)
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The files a client needs, if it speaks TLS.
    pub fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("it speaks TLS")
    }

    /// Ends it at once.
    pub fn kill_9(&self) {
        self.process.kill_9();
    }

    /// Whether it neither ended nor stands still.
    pub fn is_live(&self) -> bool {
        self.process.is_live()
    }

    /// Starts it again on its port, with what it kept on disk: everything if it is durable, nothing if not.
    pub async fn restart(&self) {
        self.kill_9();
        eventually("the server is back on its port", async || self.process.comes_up().await).await;
    }

    /// Starts it again on its port with nothing.
    pub async fn restart_empty(&self) {
        self.kill_9();
        for kept in ["appendonlydir", "dump.rdb"] {
            let path = self.process.path(kept);
            drop(fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)));
        }
        self.restart().await;
    }

    /// Makes it stand still: connections stay open and nothing is answered.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.process.go_on();
    }

    /// Waits until so many replicas have all that was written. That their link is up does not say so: a replica is sent
    /// nothing until it has told for the first time how far it is, which it does once a second.
    pub async fn has_reached(&self, replicas: usize) {
        let count = replicas.to_string();
        let wait: [&[&str]; 2] = [&["PUBLISH", "nobody", "marks the place"], &["WAIT", &count, "1000"]];
        let has = async || self.process.ask_in_turn(&wait).await.is_ok_and(|have| have == replicas);
        eventually("the replicas have everything", has).await;
    }

    /// Keeps from its replicas all that is written from now on; they stand still. (Only that is not enough: what had been
    /// sent to them waits for them in the kernel.)
    pub(super) async fn cut_off(&self, replicas: &[&Self]) {
        replicas.iter().for_each(|replica| replica.pause());
        self.command(&["CLIENT", "KILL", "TYPE", "replica"]).await;
    }

    /// Sends one command; its answer as a text, lists as JSON.
    pub async fn command(&self, command: &[&str]) -> String {
        resp::text(&self.ask(command).await.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Sends one command that may be refused.
    pub async fn ask(&self, command: &[&str]) -> Reply {
        self.process.ask(command).await
    }

    /// A field of `INFO everything`; empty if it is not there.
    pub async fn info(&self, field: &str) -> String {
        let all = self.command(&["INFO", "everything"]).await;
        let value = all.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap_or_default().to_owned()
    }

    /// How often it has run this command, named as Redis does: `evalsha`.
    pub async fn calls(&self, command: &str) -> u64 {
        let stats = self.info(&format!("cmdstat_{command}")).await;
        let calls = stats.strip_prefix("calls=").and_then(|rest| rest.split(',').next());
        calls.map_or(0, |calls| calls.parse().unwrap())
    }

    /// Everything it holds, by name.
    pub async fn keys(&self, pattern: &str) -> Vec<String> {
        let keys = self.ask(&["KEYS", pattern]).await.unwrap();
        let mut keys: Vec<_> = keys.as_array().unwrap().iter().map(resp::text).collect();
        keys.sort();
        keys
    }

    /// What it logged, for the message of a test that fails.
    pub fn log(&self) -> String {
        self.process.log()
    }
}
