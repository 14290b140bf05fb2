//! Limits and places that several replicas share, and what is left of them without Redis.

mod agreement;
mod outages;
mod places;

use std::sync::Arc;
use std::time::Duration;

use polylogue::config::{Scope, Strategy};
use polylogue::limits::{Check, Limiter, Policy, Verdict};

fn policy(quota: u32, window: Duration, strategy: Strategy) -> Arc<Policy> {
    let name = format!("{strategy:?}-{quota}").into();
    Arc::new(Policy { name, quota, window, scope: Scope::Ip, strategy })
}

fn check(subject: &str, policy: &Arc<Policy>) -> [Check; 1] {
    [Check { policy: Arc::clone(policy), subject: subject.to_owned() }]
}

async fn ask(limiter: &impl Limiter, subject: &str, policy: &Arc<Policy>) -> Verdict {
    limiter.decide(&check(subject, policy)).await
}
