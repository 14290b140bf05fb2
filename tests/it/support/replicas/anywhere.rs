use std::sync::Mutex;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::super::Client;
use super::Replica;

/// A balancer without a memory: each request goes to any replica that lives.
pub struct Anywhere<'a> {
    replicas: &'a [Replica],
    rng: Mutex<StdRng>,
}

impl<'a> Anywhere<'a> {
    pub fn of(replicas: &'a [Replica], seed: u64) -> Self {
        Self { replicas, rng: Mutex::new(StdRng::seed_from_u64(seed)) }
    }

    /// A replica that lives.
    pub fn replica(&self) -> &'a Replica {
        let living: Vec<_> = self.replicas.iter().filter(|replica| replica.is_live()).collect();
        living.choose(&mut self.rng.lock().unwrap()).expect("no replica lives")
    }

    /// A client of one.
    pub fn client(&self) -> &'a Client {
        &self.replica().client
    }

    /// A number that nobody else draws, for keys and names.
    pub fn number(&self) -> u64 {
        self.rng.lock().unwrap().random()
    }
}
