//! Several replicas of the real program as processes, clients that survive what is done to them, and what must be true
//! afterwards.

mod anywhere;
mod applied;
mod ledger;
mod lines;
mod plan;
mod replica;
mod tale;
mod wanderer;

use std::ops::Deref;

pub use anywhere::Anywhere;
pub use applied::applied;
use futures_util::future::join_all;
pub use ledger::Ledger;
pub use plan::Plan;
use polylogue::simulator::Simulator;
pub use replica::Replica;
pub use tale::{Tale, faults};
pub use wanderer::{Wanderer, event_of};

/// The replicas of one service.
pub struct Replicas(Vec<Replica>);

impl Replicas {
    /// Starts so many on one model and one Redis, if any, with these settings (`turns.lease=2s`).
    pub async fn start(count: usize, model: &Simulator, redis: Option<&str>, settings: &[&str]) -> Self {
        let mut plan = Plan::on(model);
        plan = redis.into_iter().fold(plan, Plan::redis);
        plan = settings.iter().copied().fold(plan, Plan::set);
        Self::of(vec![plan; count]).await
    }

    /// Starts one of each.
    pub async fn of(plans: Vec<Plan>) -> Self {
        Self(join_all(plans.into_iter().map(Plan::start)).await)
    }

    /// Clients of any of them, chosen anew each time.
    pub fn anywhere(&self, seed: u64) -> Anywhere<'_> {
        Anywhere::of(self, seed)
    }

    /// Where all of them listen, dead or alive.
    pub fn addresses(&self) -> Vec<String> {
        self.iter().map(Replica::address).collect()
    }

    /// The seed of what is left to chance in a test, said so that a failure can be played again: `SEED=… cargo test`.
    pub fn seed() -> u64 {
        #[expect(clippy::disallowed_methods, reason = "whoever plays a failure again gives the seed")]
        let given = std::env::var("SEED").ok();
        let seed = given.map_or_else(rand::random, |given| given.parse().unwrap());
        eprintln!("SEED={seed}");
        seed
    }
}

impl Deref for Replicas {
    type Target = [Replica];
    fn deref(&self) -> &[Replica] {
        &self.0
    }
}
