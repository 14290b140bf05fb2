use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::Value;

use super::super::{eventually, ports};
use super::RedisServer;
use super::process::Process;

/// What Sentinels call the primary they watch.
const NAME: &str = "chat";

/// A primary with two replicas, and three Sentinels that agree about who is the primary.
pub struct Sentinels {
    servers: Vec<RedisServer>,
    sentinels: Vec<(u16, Process)>,
}

impl Sentinels {
    /// Starts all six and waits until each knows the others.
    pub async fn start() -> Self {
        let primary = RedisServer::start().await;
        let follow = format!("replicaof 127.0.0.1 {}", primary.port);
        let mut servers = join_all((0..2).map(|_| RedisServer::builder().line(&follow).start())).await;
        primary.has_reached(servers.len()).await;
        let sentinels = join_all((0..3).map(|_| sentinel(primary.port))).await;
        servers.push(primary);
        let all = Self { servers, sentinels };
        eventually("the Sentinels know each other and both replicas", async || all.are_acquainted().await)
            .await;
        all
    }

    async fn are_acquainted(&self) -> bool {
        let masters =
            join_all(self.sentinels.iter().map(|(_, it)| it.ask(&["SENTINEL", "MASTER", NAME]))).await;
        masters.into_iter().all(|master| {
            let master = master.unwrap();
            let field = |name: &str| {
                let words = master.as_array().unwrap();
                words.iter().position(|word| word == name).map(|place| words[place + 1].clone())
            };
            let two = Some(Value::from("2"));
            field("num-other-sentinels") == two
                && field("num-slaves") == two
                && field("flags") == Some("master".into())
        })
    }

    /// What a client takes to reach whoever is the primary.
    pub fn url(&self) -> String {
        let addresses: Vec<_> = self.sentinels.iter().map(|(port, _)| format!("127.0.0.1:{port}")).collect();
        format!("redis+sentinel://{}/{NAME}", addresses.join(","))
    }

    /// Who is the primary, as most Sentinels say.
    pub async fn primary(&self) -> &RedisServer {
        let ports = self.said().await;
        let most = ports.iter().max_by_key(|port| ports.iter().filter(|other| other == port).count());
        let port = *most.expect("no Sentinel answers");
        self.servers.iter().find(|server| server.port == port).unwrap()
    }

    /// The two that are not.
    pub async fn replicas(&self) -> Vec<&RedisServer> {
        let primary = self.primary().await.port;
        self.servers.iter().filter(|server| server.port != primary).collect()
    }

    async fn said(&self) -> Vec<u16> {
        let question = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME];
        let answers = join_all(self.sentinels.iter().map(|(_, sentinel)| sentinel.ask(&question))).await;
        answers.iter().flatten().filter_map(|answer| answer[1].as_str()?.parse().ok()).collect()
    }

    /// From now on nothing that is written reaches a replica, until the primary is killed.
    pub async fn cut_replicas_off(&self) {
        self.primary().await.cut_off(&self.replicas().await).await;
    }

    /// Ends the primary at once; who it was.
    pub async fn kill_primary(&self) -> &RedisServer {
        let (primary, replicas) = (self.primary().await, self.replicas().await);
        primary.kill_9();
        replicas.iter().for_each(|replica| replica.go_on());
        primary
    }

    /// Waits until all Sentinels name another primary than this one, and it takes writes.
    pub async fn wait_for_new_primary(&self, old: &RedisServer) -> &RedisServer {
        eventually("there is another primary", async || {
            let said: BTreeSet<u16> = self.said().await.into_iter().collect();
            let primary = self.servers.iter().find(|server| said.len() == 1 && said.contains(&server.port));
            let Some(primary) = primary.filter(|primary| primary.port != old.port) else { return false };
            primary.info("role").await == "master"
        })
        .await;
        self.primary().await
    }
}

async fn sentinel(primary: u16) -> (u16, Process) {
    for _ in 0..10 {
        let port = ports::free();
        let watch = [
            format!("port {port}"),
            format!("sentinel monitor {NAME} 127.0.0.1 {primary} 2"),
            format!("sentinel down-after-milliseconds {NAME} 600"),
            format!("sentinel failover-timeout {NAME} 2000"),
            format!("sentinel parallel-syncs {NAME} 2\n"),
        ];
        let sentinel = Process::sentinel(&watch.join("\n"));
        if sentinel.comes_up().await {
            let haste: Vec<_> = HASTE.split_whitespace().collect();
            sentinel.ask(&haste).await.unwrap();
            return (port, sentinel);
        }
    }
    panic!("no Sentinel starts");
}

/// Sentinels find each other, and a successor, in a fraction of the seconds they usually take.
const HASTE: &str = "SENTINEL DEBUG INFO-PERIOD 200 PING-PERIOD 300 ASK-PERIOD 100 PUBLISH-PERIOD 100 \
                     MIN-LINK-RECONNECT-PERIOD 500 ELECTION-TIMEOUT 1000";
