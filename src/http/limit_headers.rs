//! What a caller is told about limits: draft-ietf-httpapi-ratelimit-headers-11, and the older `X-RateLimit-*`.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue, RETRY_AFTER};

use super::problem::Problem;
use crate::limits::{Policy, Standing, Verdict};
use crate::words::{ErrorCode, Failure, Timestamp};

const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The headers of every limited answer; with `Retry-After` if it is a refusal. Seconds are rounded up, so that whoever
/// waits as long as it is told has waited long enough.
pub fn headers(verdict: &Verdict, now: Timestamp) -> Vec<(HeaderName, HeaderValue)> {
    let Some(nearest) = nearest_to_refusal(verdict) else { return Vec::new() };
    let reset = Duration::from_millis(now.as_millis()).saturating_add(nearest.reset);
    let mut headers = vec![
        text(RATE_LIMIT_POLICY, &list(&verdict.standings, |standing| announced(&standing.policy))),
        text(RATE_LIMIT, &list(&verdict.standings, remaining)),
        number(LIMIT, u64::from(nearest.policy.quota)),
        number(REMAINING, u64::from(nearest.remaining)),
        number(RESET, seconds_up(reset)),
    ];
    headers.extend(nearest.retry_after.map(|wait| number(RETRY_AFTER, seconds_up(wait))));
    headers
}

/// The problem of a refusal; the edge adds [`headers`] to it.
pub fn problem(verdict: &Verdict) -> Problem {
    let refused = verdict.standings.iter().filter(|standing| standing.retry_after.is_some());
    let violated_policies = refused.map(|standing| standing.policy.name.to_string()).collect();
    let failure = match nearest_to_refusal(verdict) {
        Some(Standing { policy, retry_after: Some(wait), .. }) => {
            Failure::new(ErrorCode::RateLimited, rule(policy)).retry_after(millis_up(*wait))
        }
        Some(_) | None => Failure::new(ErrorCode::RateLimited, "Too many requests."),
    };
    Problem { violated_policies, ..failure.into() }
}

/// What a refused upgrade says: how many sockets a caller may have at once.
pub fn sockets_policy(quota: usize) -> (HeaderName, HeaderValue) {
    text(RATE_LIMIT_POLICY, &format!(r#""sockets";q={quota};qu="concurrent-requests""#))
}

/// The policy that will allow again last; if all allow, the one with the least left.
fn nearest_to_refusal(verdict: &Verdict) -> Option<&Standing> {
    let distance = |standing: &&Standing| {
        let wait = std::cmp::Reverse(standing.retry_after);
        (wait, standing.remaining, std::cmp::Reverse(standing.reset))
    };
    verdict.standings.iter().min_by_key(distance)
}

fn announced(policy: &Policy) -> String {
    format!("{};q={};w={}", quoted(&policy.name), policy.quota, seconds_up(policy.window))
}

fn remaining(standing: &Standing) -> String {
    let Standing { policy, remaining, reset, retry_after } = standing;
    // Whoever is refused wants to know when to come back, not when everything is back.
    let until = retry_after.unwrap_or(*reset);
    format!("{};r={remaining};t={}", quoted(&policy.name), seconds_up(until))
}

fn rule(policy: &Policy) -> String {
    let requests = if policy.quota == 1 { "request" } else { "requests" };
    let window = policy.window.as_secs_f64();
    format!("The limit is {} {requests} per {window} s.", policy.quota)
}

fn list(standings: &[Standing], member: impl Fn(&Standing) -> String) -> String {
    standings.iter().map(member).collect::<Vec<_>>().join(", ")
}

/// A string of RFC 9651 §3.3.3; what it cannot hold is left out.
fn quoted(name: &str) -> String {
    let mut quoted = String::from('"');
    for character in name.chars().filter(|character| matches!(character, ' '..='~')) {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

/// Whole seconds, rounded up: the form of every wait and window that a caller is told.
pub fn seconds_up(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

fn millis_up(duration: Duration) -> Duration {
    let part = u64::from(!duration.subsec_nanos().is_multiple_of(1_000_000));
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).saturating_add(part))
}

fn number(name: HeaderName, value: u64) -> (HeaderName, HeaderValue) {
    (name, value.into())
}

fn text(name: HeaderName, value: &str) -> (HeaderName, HeaderValue) {
    (name, HeaderValue::from_str(value).unwrap_or_else(|_| HeaderValue::from_static("")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{Scope, Strategy};
    use crate::telemetry::metrics::Backend;
    use crate::words::RequestId;

    fn standing(name: &str, quota: u32, remaining: u32, reset_ms: u64) -> Standing {
        let (window, scope, strategy) = (Duration::from_secs(60), Scope::Ip, Strategy::FixedWindow);
        let policy = Arc::new(Policy { name: name.into(), quota, window, scope, strategy });
        Standing { policy, remaining, reset: Duration::from_millis(reset_ms), retry_after: None }
    }

    fn refusing(name: &str, quota: u32, wait_ms: u64) -> Standing {
        let retry_after = Some(Duration::from_millis(wait_ms));
        Standing { retry_after, ..standing(name, quota, 0, wait_ms) }
    }

    fn rendered(standings: Vec<Standing>) -> String {
        let verdict = Verdict { standings, backend: Backend::Local };
        let headers = headers(&verdict, Timestamp::from_millis(1_795_460_400_000));
        let line =
            |(name, value): &(HeaderName, HeaderValue)| format!("{name}: {}\n", value.to_str().unwrap());
        headers.iter().map(line).collect()
    }

    #[test]
    fn an_allowed_request_reads_as_in_the_contract() {
        insta::assert_snapshot!(rendered(vec![standing("default", 100, 99, 60_000)]), @r#"
        ratelimit-policy: "default";q=100;w=60
        ratelimit: "default";r=99;t=60
        x-ratelimit-limit: 100
        x-ratelimit-remaining: 99
        x-ratelimit-reset: 1795460460
        "#);
    }

    #[test]
    fn a_refusal_reads_as_in_the_contract() {
        insta::assert_snapshot!(rendered(vec![refusing("default", 100, 41_250)]), @r#"
        ratelimit-policy: "default";q=100;w=60
        ratelimit: "default";r=0;t=42
        x-ratelimit-limit: 100
        x-ratelimit-remaining: 0
        x-ratelimit-reset: 1795460442
        retry-after: 42
        "#);
    }

    #[test]
    fn all_policies_are_in_one_list_and_the_nearest_to_refusal_is_the_old_headers_one() {
        let standings = vec![standing("default", 100, 40, 41_001), standing("costly \"1\"", 10, 3, 900)];
        insta::assert_snapshot!(rendered(standings), @r#"
        ratelimit-policy: "default";q=100;w=60, "costly \"1\"";q=10;w=60
        ratelimit: "default";r=40;t=42, "costly \"1\"";r=3;t=1
        x-ratelimit-limit: 10
        x-ratelimit-remaining: 3
        x-ratelimit-reset: 1795460401
        "#);
    }

    #[test]
    fn of_several_refusals_the_one_that_lasts_longest_counts() {
        let standings =
            vec![refusing("short", 1, 10), standing("default", 100, 40, 5000), refusing("long", 10, 59_001)];
        insta::assert_snapshot!(rendered(standings), @r#"
        ratelimit-policy: "short";q=1;w=60, "default";q=100;w=60, "long";q=10;w=60
        ratelimit: "short";r=0;t=1, "default";r=40;t=5, "long";r=0;t=60
        x-ratelimit-limit: 10
        x-ratelimit-remaining: 0
        x-ratelimit-reset: 1795460460
        retry-after: 60
        "#);
    }

    #[test]
    fn the_problem_of_a_refusal_reads_as_in_the_contract() {
        let verdict = Verdict { standings: vec![refusing("default", 100, 41_250)], backend: Backend::Local };
        let id: RequestId = "7f3c2a9f".parse().unwrap();
        let contract = serde_json::json!({
            "type": "/problems/rate_limited",
            "title": "Too many requests",
            "status": 429,
            "code": "rate_limited",
            "detail": "The limit is 100 requests per 60 s.",
            "instance": "urn:polylogue:request:7f3c2a9f",
            "request_id": "7f3c2a9f",
            "retry_after_ms": 41250,
            "violated-policies": ["default"],
        });
        assert_eq!(problem(&verdict).to_json(&id, true), contract);
    }

    #[test]
    fn a_wait_told_in_milliseconds_is_long_enough_too() {
        let mut refused = refusing("default", 100, 0);
        refused.retry_after = Some(Duration::from_nanos(1_000_001));
        let verdict = Verdict { standings: vec![refused], backend: Backend::Local };
        assert_eq!(problem(&verdict).failure.retry_after, Some(Duration::from_millis(2)));
    }

    #[test]
    fn a_refused_upgrade_says_how_many_sockets_there_may_be() {
        let (name, value) = sockets_policy(5);
        assert_eq!(name, "ratelimit-policy");
        assert_eq!(value, r#""sockets";q=5;qu="concurrent-requests""#);
    }
}
