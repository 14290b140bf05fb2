//! Which policies an operation asks.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{FAILED_AUTHENTICATION, Policy, RESUME};
use crate::config;

/// What an operation asks that the configuration says nothing of.
pub(super) const DEFAULT: &str = "default";
/// What following a turn asks, so that a reconnect storm does not lock out what is promised.
const FOLLOWING: &str = "resume";
/// What a request without a valid credential asks.
const FAILED: &str = "failed_authentication";
/// A window has to survive being counted in nanoseconds and announced in whole seconds.
const LONGEST_WINDOW: Duration = Duration::from_secs(366 * 24 * 3600);
const SHORTEST_WINDOW: Duration = Duration::from_millis(1);
/// Names go into headers, labels and keys.
const LONGEST_NAME: usize = 64;
/// How alike two operations are before one is suggested for the other.
const ALIKE: f64 = 0.85;

/// What is wrong with the section `limits`; every fault at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct WrongLimits(pub Vec<String>);

impl fmt::Display for WrongLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

/// The policies of each operation, and all policies by name.
pub(super) struct Routes {
    /// One with an empty list is not limited.
    pub routes: HashMap<String, Vec<Arc<Policy>>>,
    pub policies: HashMap<Arc<str>, Arc<Policy>>,
}

/// Which policies each operation asks.
pub(super) fn routes(settings: &config::Limits, operations: &[&str]) -> Result<Routes, WrongLimits> {
    let mut faults = Vec::new();
    let policies: BTreeMap<&str, Arc<Policy>> =
        settings.policies.iter().filter_map(|(name, policy)| compiled(name, policy, &mut faults)).collect();

    for operation in settings.routes.keys().filter(|name| !operations.contains(&name.as_str())) {
        faults.push(unknown_operation(operation, operations));
    }
    let routes = operations
        .iter()
        .chain(&[FAILED_AUTHENTICATION])
        .map(|operation| {
            let names = policies_of(operation, settings);
            ((*operation).to_owned(), resolved(operation, &names, settings, &policies, &mut faults))
        })
        .collect();
    let policies = policies.into_values().map(|policy| (Arc::clone(&policy.name), policy)).collect();
    if faults.is_empty() { Ok(Routes { routes, policies }) } else { Err(WrongLimits(faults)) }
}

fn policies_of<'a>(operation: &str, settings: &'a config::Limits) -> Vec<&'a str> {
    match settings.routes.get(operation) {
        Some(names) => names.iter().map(String::as_str).collect(),
        None if operation == RESUME => vec![FOLLOWING],
        None if operation == FAILED_AUTHENTICATION => {
            settings.policies.contains_key(FAILED).then_some(FAILED).into_iter().collect()
        }
        None => vec![DEFAULT],
    }
}

fn resolved(
    operation: &str,
    names: &[&str],
    settings: &config::Limits,
    policies: &BTreeMap<&str, Arc<Policy>>,
    faults: &mut Vec<String>,
) -> Vec<Arc<Policy>> {
    let mut found = Vec::new();
    for (place, name) in names.iter().enumerate() {
        if names[..place].contains(name) {
            faults.push(format!("limits.routes.\"{operation}\" names the policy \"{name}\" twice"));
        } else if let Some(policy) = policies.get(name) {
            found.push(Arc::clone(policy));
        } else if !settings.policies.contains_key(*name) {
            faults.push(format!(
                "\"{operation}\" asks the policy \"{name}\", but there is no limits.policies.{name}"
            ));
        }
    }
    found
}

fn compiled<'a>(
    name: &'a str,
    policy: &config::Policy,
    faults: &mut Vec<String>,
) -> Option<(&'a str, Arc<Policy>)> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if !(1..=LONGEST_NAME).contains(&name.len()) || !name.bytes().all(plain) {
        faults.push(format!(
            "limits.policies.\"{name}\": a name must be 1 to {LONGEST_NAME} letters, digits, '_', '-' or '.'"
        ));
        return None;
    }
    if !(SHORTEST_WINDOW..=LONGEST_WINDOW).contains(&*policy.window) {
        faults.push(format!("limits.policies.{name}.window must be at least 1ms and at most 366 days"));
        return None;
    }
    let config::Policy { quota, window, scope, strategy } = *policy;
    Some((name, Arc::new(Policy { name: name.into(), quota: quota.get(), window: *window, scope, strategy })))
}

fn unknown_operation(given: &str, operations: &[&str]) -> String {
    let alike = |known: &&str| strsim::jaro_winkler(&given.to_lowercase(), &known.to_lowercase());
    let nearest = operations.iter().max_by(|a, b| alike(a).total_cmp(&alike(b)));
    let advice = match nearest {
        Some(known) if alike(known) >= ALIKE => format!("did you mean \"{known}\"?"),
        Some(_) | None => format!("known are: {}", operations.join(", ")),
    };
    format!("limits.routes.\"{given}\" is not an operation; {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPERATIONS: [&str; 3] = ["POST /api/v1/chat", "GET /api/v1/personas", RESUME];

    fn settings(change: impl FnOnce(&mut config::Limits)) -> config::Limits {
        let mut limits = config::Config::default().limits;
        change(&mut limits);
        limits
    }

    fn names(settings: &config::Limits, operation: &str) -> Vec<String> {
        let Routes { routes, .. } = routes(settings, &OPERATIONS).unwrap();
        routes[operation].iter().map(|policy| policy.name.to_string()).collect()
    }

    #[test]
    fn an_operation_asks_the_default_policy_and_following_a_turn_its_own() {
        let limits = settings(|_| ());
        assert_eq!(names(&limits, "POST /api/v1/chat"), ["default"]);
        assert_eq!(names(&limits, RESUME), ["resume"]);
    }

    #[test]
    fn a_route_replaces_the_default_and_may_be_empty() {
        let limits = settings(|limits| {
            let costly = limits.policies["default"].clone();
            limits.policies.insert("costly".into(), costly);
            limits.routes.insert("POST /api/v1/chat".into(), vec!["default".into(), "costly".into()]);
            limits.routes.insert("GET /api/v1/personas".into(), vec![]);
        });
        assert_eq!(names(&limits, "POST /api/v1/chat"), ["default", "costly"]);
        assert!(names(&limits, "GET /api/v1/personas").is_empty());
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let limits = settings(|limits| {
            let policy = limits.policies["default"].clone();
            limits.policies.insert("wei\u{df}".into(), policy.clone());
            limits
                .policies
                .insert("never".into(), config::Policy { window: config::Span(Duration::ZERO), ..policy });
            limits.routes.insert("POST /api/v1/chatt".into(), vec!["default".into()]);
            limits.routes.insert(
                "GET /api/v1/personas".into(),
                vec!["default".into(), "costly".into(), "default".into()],
            );
        });
        let WrongLimits(faults) = routes(&limits, &OPERATIONS).err().unwrap();
        insta::assert_snapshot!(faults.join("\n"), @r#"
        limits.policies.never.window must be at least 1ms and at most 366 days
        limits.policies."weiß": a name must be 1 to 64 letters, digits, '_', '-' or '.'
        limits.routes."POST /api/v1/chatt" is not an operation; did you mean "POST /api/v1/chat"?
        "GET /api/v1/personas" asks the policy "costly", but there is no limits.policies.costly
        limits.routes."GET /api/v1/personas" names the policy "default" twice
        "#);
    }
}
