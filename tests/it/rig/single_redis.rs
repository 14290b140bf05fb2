//! One real Redis server.

use std::process::Command;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::support::Certificates;
use crate::support::redis::RedisServer;

#[tokio::test]
async fn a_server_starts_is_killed_and_comes_back_on_its_port_with_nothing() {
    let redis = RedisServer::start().await;
    assert_eq!(redis.command(&["SET", "a key", "some\r\ntext"]).await, "OK");
    assert_eq!(redis.command(&["GET", "a key"]).await, "some\r\ntext");
    assert_eq!(redis.command(&["EVAL", "return {1, 'two', {}}", "0"]).await, r#"[1,"two",[]]"#);
    assert_eq!(redis.keys("*").await, ["a key"]);
    assert_eq!((redis.calls("get").await, redis.calls("hget").await), (1, 0));
    assert!(redis.ask(&["GET"]).await.unwrap_err().starts_with("ERR wrong number of arguments"));
    let url = redis.url();

    redis.kill_9();
    assert!(!redis.is_live() && redis.ask(&["PING"]).await.is_err());

    redis.restart().await;
    assert_eq!(redis.url(), url);
    assert_eq!(redis.command(&["EXISTS", "a key"]).await, "0");
    assert!(redis.log().contains("Ready to accept connections"));
}

#[tokio::test]
async fn a_durable_server_comes_back_with_all_it_answered_for_unless_told_otherwise() {
    let redis = RedisServer::builder().durable().start().await;
    redis.command(&["SET", "a", "1"]).await;
    redis.restart().await;
    assert_eq!(redis.command(&["GET", "a"]).await, "1");
    redis.restart_empty().await;
    assert_eq!(redis.command(&["EXISTS", "a"]).await, "0");
}

#[tokio::test]
async fn a_paused_server_keeps_connections_and_answers_later() {
    let redis = RedisServer::start().await;
    redis.pause();
    let question = redis.command(&["PING"]);
    tokio::pin!(question);
    assert!(timeout(Duration::from_millis(100), &mut question).await.is_err());
    assert!(!redis.is_live());
    redis.go_on();
    assert_eq!(question.await, "PONG");
    // One that stands still goes with the test too.
    redis.pause();
}

#[tokio::test]
async fn a_server_may_want_to_know_who_asks() {
    let password = RedisServer::builder().password("secret").start().await;
    assert_eq!(password.url(), format!("redis://:secret@{}", password.address()));
    assert_eq!(password.command(&["ACL", "WHOAMI"]).await, "default");

    let user = RedisServer::builder().user("polylogue", "secret").start().await;
    assert_eq!(user.url_by("localhost:1"), "redis://polylogue:secret@localhost:1");
    assert_eq!(user.command(&["ACL", "WHOAMI"]).await, "polylogue");
    let stranger = Command::new("redis-cli").args(["-p", &user.port.to_string(), "PING"]).output().unwrap();
    assert!(String::from_utf8_lossy(&stranger.stdout).starts_with("NOAUTH"));
}

#[tokio::test]
async fn a_server_with_tls_wants_a_certificate_of_its_own_authority() {
    let redis = RedisServer::builder().tls().start().await;
    assert_eq!(redis.url(), format!("rediss://{}", redis.address()));
    let ping = |certificates: &Certificates| {
        let mut command = Command::new("redis-cli");
        command.args(["-h", "127.0.0.1", "-p", &redis.port.to_string(), "--tls"]);
        command.arg("--cacert").arg(redis.certificates().authority());
        command.arg("--cert").arg(certificates.client()).arg("--key").arg(certificates.client_key());
        String::from_utf8(command.arg("PING").output().unwrap().stdout).unwrap()
    };
    assert_eq!(ping(redis.certificates()), "PONG\n");
    assert_eq!(ping(&Certificates::make()), "");
}

#[tokio::test]
async fn a_full_server_refuses_writes() {
    let redis = RedisServer::builder().max_memory("2mb", "noeviction").line("maxclients 100").start().await;
    let refused = redis.ask(&["SET", "a", &"x".repeat(4_000_000)]).await;
    let refused = if refused.is_ok() { redis.ask(&["SET", "b", "x"]).await } else { refused };
    assert!(refused.unwrap_err().starts_with("OOM "));
    assert_eq!(redis.command(&["CONFIG", "GET", "maxclients"]).await, r#"["maxclients","100"]"#);
}

#[tokio::test]
async fn many_servers_start_quickly_side_by_side() {
    let began = Instant::now();
    let servers = futures_util::future::join_all((0..20).map(|_| RedisServer::start())).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let ports: std::collections::BTreeSet<_> = servers.iter().map(|server| server.port).collect();
    assert_eq!(ports.len(), 20);
}
