//! Very many connections.

use std::process::Command;

use futures_util::stream::{self, StreamExt as _};
use tokio::net::TcpStream;

use super::target::Target;
use super::watch::Watch;
use crate::support::eventually;

const MANY: usize = 10_000;
/// What others in this process and the one under attack need beside the connections.
const OTHERS: usize = 2_000;

/// As many as this machine lets one process hold; says so where that is not what was wanted.
fn bounded(process: u32) -> usize {
    let own = std::process::id();
    let limits: Vec<usize> = [own, process].map(|id| raised(&id.to_string())).into();
    let most = limits.into_iter().min().unwrap().saturating_sub(OTHERS).min(MANY);
    if most < MANY {
        println!("this machine allows {most} connections instead of {MANY}");
    }
    most
}

/// Raises how many files a process may hold as far as it goes.
fn raised(process: &str) -> usize {
    let hard = ["--pid", process, "--nofile", "--output", "HARD", "--noheadings"];
    let hard = Command::new("prlimit").args(hard).output().unwrap();
    let hard = String::from_utf8(hard.stdout).unwrap().trim().to_owned();
    assert!(
        Command::new("prlimit")
            .args(["--pid", process, &format!("--nofile={hard}")])
            .status()
            .unwrap()
            .success()
    );
    hard.parse().unwrap_or(usize::MAX)
}

async fn connect(target: &Target, count: usize, from: impl Fn(usize) -> u8) -> Vec<TcpStream> {
    let connecting = (0..count).map(|n| target.attacker_from(from(n)));
    stream::iter(connecting).buffer_unordered(64).filter_map(async |it| it.ok()).collect().await
}

#[tokio::test]
async fn one_address_holds_no_more_than_its_share() {
    let target = Target::start(&["server.header_timeout=60s"]).await;
    let (most, watch) = (bounded(target.process), Watch::begin(&target));
    let crowd = connect(&target, most, |_| 1).await;
    target.has_closed("limit", most - 256).await;
    assert_eq!(target.closed("limit").await as usize, most - 256);
    let server = format!("256 held, {} closed at once", most - 256);
    watch.ends(&format!("{most} connections from one address"), &server, 200).await;
    drop(crowd);
}

#[tokio::test]
async fn many_addresses_together_cost_little() {
    let target = Target::start(&["server.header_timeout=60s", "server.max_connections=11000"]).await;
    let (most, watch) = (bounded(target.process), Watch::begin(&target));
    let crowd = connect(&target, most, |n| 1 + u8::try_from(n % 50).unwrap()).await;
    eventually("all are held", async || target.metric("tcp_connections").await >= most as f64).await;
    let server = "all held, until header_timeout";
    watch.ends(&format!("{most} silent connections from 50 addresses"), server, 400).await;
    drop(crowd);
}
