use futures_util::future::join_all;

use super::super::eventually;
use super::RedisServer;

/// How many nodes share the slots.
const PRIMARIES: usize = 3;

const SLOTS: usize = 16_384;

/// Nodes that share the slots, each with a replica if it is wished.
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts three primaries.
    pub async fn start() -> Self {
        Self::of(PRIMARIES).await
    }

    /// Starts three primaries, each with a replica that takes its place when it dies.
    pub async fn with_replicas() -> Self {
        Self::of(2 * PRIMARIES).await
    }

    async fn of(count: usize) -> Self {
        let lines = "cluster-enabled yes\ncluster-node-timeout 1000\ncluster-replica-validity-factor 0";
        let nodes = join_all((0..count).map(|_| RedisServer::builder().line(lines).start())).await;
        let cluster = Self { nodes };
        cluster.share_the_slots().await;
        cluster.introduce().await;
        cluster.appoint_replicas().await;
        eventually("all nodes say that the cluster is well", async || cluster.is_well().await).await;
        let of_each = count / PRIMARIES - 1;
        join_all(cluster.nodes[..PRIMARIES].iter().map(|node| node.has_reached(of_each))).await;
        cluster
    }

    async fn share_the_slots(&self) {
        for (number, node) in self.nodes.iter().enumerate() {
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]).await;
            if number < PRIMARIES {
                let border = |number: usize| number * SLOTS / PRIMARIES;
                let (first, last) = (border(number).to_string(), (border(number + 1) - 1).to_string());
                node.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await;
            }
        }
    }

    /// Everybody meets everybody, which is quicker than hearing of each other.
    async fn introduce(&self) {
        for node in &self.nodes {
            for other in &self.nodes {
                node.command(&["CLUSTER", "MEET", "127.0.0.1", &other.port.to_string()]).await;
            }
        }
        eventually("all nodes know all", async || {
            let count = self.nodes.len().to_string();
            let known =
                join_all(self.nodes.iter().map(|node| cluster_info(node, "cluster_known_nodes"))).await;
            known.iter().all(|known| *known == count)
        })
        .await;
    }

    async fn appoint_replicas(&self) {
        for (number, node) in self.nodes.iter().enumerate().skip(PRIMARIES) {
            let id = self.nodes[number - PRIMARIES].command(&["CLUSTER", "MYID"]).await;
            let appointed = async || node.ask(&["CLUSTER", "REPLICATE", &id]).await.is_ok();
            eventually("the replica knows whom to follow", appointed).await;
        }
    }

    async fn is_well(&self) -> bool {
        let well = join_all(self.living().map(async |node| {
            let follows = node.info("role").await == "slave";
            cluster_info(node, "cluster_state").await == "ok"
                && (!follows || node.info("master_link_status").await == "up")
        }));
        well.await.into_iter().all(|is_well| is_well)
    }

    /// What a client takes to reach all of them.
    pub fn url(&self) -> String {
        let addresses: Vec<_> = self.nodes[..PRIMARIES].iter().map(RedisServer::address).collect();
        format!("redis+cluster://{}", addresses.join(","))
    }

    /// All nodes, dead or alive; the first three were primaries at the start.
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    fn living(&self) -> impl Iterator<Item = &RedisServer> {
        self.nodes.iter().filter(|node| node.is_live())
    }

    /// Which node takes writes of this key, as the living say; `None` while there is none.
    pub async fn owner_of(&self, key: &str) -> Option<&RedisServer> {
        for node in self.living() {
            match node.ask(&["GET", key]).await {
                Ok(_) => return Some(node),
                Err(error) if error.starts_with("WRONGTYPE") => return Some(node),
                Err(_) => {}
            }
        }
        None
    }

    /// From now on nothing that is written of this key's slot reaches a replica, until its owner is killed.
    pub async fn cut_replica_off(&self, key: &str) {
        let owner = self.owner_of(key).await.expect("somebody has the slot");
        let port = owner.port.to_string();
        let mut replicas = Vec::new();
        for node in self.living() {
            if node.info("master_port").await == port {
                replicas.push(node);
            }
        }
        owner.cut_off(&replicas).await;
    }

    /// Ends the node that takes writes of this key; who it was.
    pub async fn kill_owner_of(&self, key: &str) -> &RedisServer {
        let owner = self.owner_of(key).await.expect("somebody has the slot");
        owner.kill_9();
        self.nodes.iter().for_each(RedisServer::go_on);
        owner
    }

    /// Waits until the key has a living owner and all living nodes are content.
    pub async fn wait_for_new_owner_of(&self, key: &str) -> &RedisServer {
        let is_back = async || self.owner_of(key).await.is_some() && self.is_well().await;
        eventually("another node has the slots", is_back).await;
        self.owner_of(key).await.unwrap()
    }
}

/// A field of `CLUSTER INFO`.
async fn cluster_info(node: &RedisServer, field: &str) -> String {
    let all = node.command(&["CLUSTER", "INFO"]).await;
    let value = all.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.unwrap_or_default().to_owned()
}
