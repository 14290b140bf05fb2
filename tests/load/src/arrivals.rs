//! When turns are due in an open loop.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// How the times between arrivals are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Spread {
    /// All the same.
    Uniform,
    /// As of many people who know nothing of each other: in bursts and lulls.
    Poisson,
}

/// The times between arrivals: the same ones for the same seed.
#[derive(Clone, Debug)]
pub struct Arrivals {
    mean: f64,
    spread: Spread,
    dice: SmallRng,
}

impl Arrivals {
    /// `rate` arrivals a second, above zero.
    pub fn new(rate: f64, spread: Spread, seed: u64) -> Self {
        Self { mean: 1.0 / rate, spread, dice: SmallRng::seed_from_u64(seed) }
    }

    /// The time until the next one.
    pub fn next_gap(&mut self) -> Duration {
        let seconds = match self.spread {
            Spread::Uniform => self.mean,
            // The inverse of the exponential distribution; 1 - u is never zero.
            Spread::Poisson => -self.mean * (1.0 - self.dice.random::<f64>()).ln(),
        };
        Duration::from_secs_f64(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(spread: Spread, seed: u64) -> (Duration, Duration) {
        let mut arrivals = Arrivals::new(1_000.0, spread, seed);
        let gaps: Vec<_> = (0..10_000).map(|_| arrivals.next_gap()).collect();
        (gaps.iter().sum(), gaps.into_iter().max().unwrap())
    }

    #[test]
    fn both_spreads_keep_the_rate_and_only_one_has_lulls() {
        assert_eq!(total(Spread::Uniform, 1), (Duration::from_secs(10), Duration::from_millis(1)));

        let (sum, longest) = total(Spread::Poisson, 1);
        assert!((9.5..10.5).contains(&sum.as_secs_f64()), "{sum:?}");
        assert!(longest > Duration::from_millis(5), "{longest:?}");
        assert_eq!(total(Spread::Poisson, 1), (sum, longest), "the same seed, the same times");
        assert_ne!(total(Spread::Poisson, 2), (sum, longest));
    }
}
