//! The proxy that fails on command.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::support::redis::{Mode, Proxy, RedisServer};

/// A client by way of the proxy.
struct Client(TcpStream);

impl Client {
    async fn of(proxy: &Proxy) -> Self {
        Self(TcpStream::connect(proxy.address()).await.unwrap())
    }

    async fn send(&mut self, command: &str) {
        let words: Vec<_> = command.split(' ').collect();
        let mut bytes = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| bytes.push_str(&format!("${}\r\n{word}\r\n", word.len())));
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// What has come once something has; nothing when the connection is cut.
    async fn read(&mut self) -> String {
        let mut bytes = vec![0; 1024];
        let length = timeout(Duration::from_secs(10), self.0.read(&mut bytes)).await.expect("no answer");
        String::from_utf8(bytes[..length.unwrap_or(0)].into()).unwrap()
    }

    async fn ask(&mut self, command: &str) -> String {
        self.send(command).await;
        self.read().await
    }

    async fn is_silent(&mut self) -> bool {
        timeout(Duration::from_millis(60), self.0.readable()).await.is_err()
    }
}

async fn rig() -> (RedisServer, Proxy, Client) {
    let redis = RedisServer::start().await;
    let proxy = Proxy::to(&redis.address()).await;
    let client = Client::of(&proxy).await;
    (redis, proxy, client)
}

#[tokio::test]
async fn the_proxy_passes_and_counts() {
    let (_redis, proxy, mut client) = rig().await;
    assert_eq!(client.ask("SET a 1").await, "+OK\r\n");
    assert_eq!(client.ask("get a").await, "$1\r\n1\r\n");
    assert_eq!((proxy.commands("GET"), proxy.commands("SET"), proxy.all_commands()), (1, 1, 2));
    drop(client.0.shutdown().await);
    assert_eq!(client.read().await, "");
}

#[tokio::test]
async fn delays_are_of_the_way_and_not_of_the_queue() {
    let (_redis, proxy, mut client) = rig().await;
    proxy.set(Mode::Delay { by: Duration::from_millis(30), jitter: Duration::from_millis(5) });
    let began = Instant::now();
    for _ in 0..10 {
        client.send("PING").await;
    }
    let mut answers = String::new();
    while answers.len() < 70 {
        answers += &client.read().await;
    }
    let took = began.elapsed();
    assert!(Duration::from_millis(60) <= took && took < Duration::from_millis(300), "{took:?}");
}

#[tokio::test]
async fn a_throttled_line_is_slow_for_what_is_long() {
    let (redis, proxy, mut client) = rig().await;
    redis.command(&["SET", "long", &"x".repeat(400)]).await;
    proxy.set(Mode::Throttle { bytes_per_second: 2_000 });
    let began = Instant::now();
    assert!(client.ask("GET long").await.starts_with("$400"));
    assert!(began.elapsed() > Duration::from_millis(200), "{:?}", began.elapsed());
}

#[tokio::test]
async fn new_connections_are_refused_and_open_ones_cut_when_told_to() {
    let (_redis, proxy, mut client) = rig().await;
    assert_eq!(client.ask("PING").await, "+PONG\r\n");
    proxy.set(Mode::Refuse);
    let refused = async || {
        let error = TcpStream::connect(proxy.address()).await.err();
        error.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    crate::support::eventually("nobody listens", refused).await;
    assert_eq!(client.ask("PING").await, "+PONG\r\n", "an open one goes on");
    proxy.cut();
    assert_eq!(client.read().await, "");
    proxy.set(Mode::Pass);
    crate::support::eventually("somebody listens again", async || !refused().await).await;
    assert_eq!(Client::of(&proxy).await.ask("PING").await, "+PONG\r\n");
}

#[tokio::test]
async fn an_answer_is_cut_once_although_its_command_was_executed() {
    let (redis, proxy, mut client) = rig().await;
    proxy.set(Mode::CutNextAnswer { after: 2 });
    assert_eq!(client.ask("INCR a").await, ":1");
    assert_eq!(client.read().await, "");
    assert_eq!((redis.command(&["GET", "a"]).await.as_str(), proxy.mode()), ("1", Mode::Pass));

    let mut client = Client::of(&proxy).await;
    proxy.set(Mode::CutAnswerTo { part: "precious".into() });
    for command in ["INCR a", "INCR precious", "INCR a"] {
        client.send(command).await;
    }
    assert_eq!(client.read().await, ":2\r\n", "what was asked before is answered");
    assert_eq!(client.read().await, "");
    assert_eq!(redis.command(&["GET", "precious"]).await, "1");
    assert_eq!(Client::of(&proxy).await.ask("INCR precious").await, ":2\r\n");
}

#[tokio::test]
async fn what_is_swallowed_arrives_late_as_it_does_in_a_network() {
    let (redis, proxy, mut client) = rig().await;
    proxy.set(Mode::Blackhole);
    client.send("INCR a").await;
    let mut new = Client::of(&proxy).await;
    new.send("PING").await;
    assert!(client.is_silent().await && new.is_silent().await);
    assert_eq!(redis.command(&["EXISTS", "a"]).await, "0");

    proxy.set(Mode::Mute);
    assert!(client.is_silent().await);
    crate::support::eventually("it was executed", async || redis.command(&["EXISTS", "a"]).await == "1")
        .await;

    proxy.set(Mode::Pass);
    assert_eq!((client.read().await, new.read().await), (":1\r\n".into(), "+PONG\r\n".into()));
}

#[tokio::test]
async fn commands_are_answered_with_an_error_and_not_executed() {
    let (redis, proxy, mut client) = rig().await;
    proxy.set(Mode::Say("OOM command not allowed when used memory > 'maxmemory'.".into()));
    assert!(client.ask("SELECT 0").await.starts_with("+OK"));
    assert!(client.ask("SET a 1").await.starts_with("-OOM command"));
    assert_eq!(redis.command(&["EXISTS", "a"]).await, "0");
    proxy.set(Mode::Pass);
    assert_eq!(client.ask("SET a 1").await, "+OK\r\n");
}
