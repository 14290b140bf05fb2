//! The policies of every operation, and who decides them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::most_limited::MostLimited;
use super::routes::{DEFAULT, Routes, routes};
use super::{Check, Limiter, Policy, Standing, Subject, Verdict, WrongLimits};
use crate::config::{self, Scope};
use crate::telemetry::Quiet;
use crate::telemetry::metrics::{Backend, Decision, IdentifiedBy, Metrics, Name};
use crate::telemetry::traces::SPAN_ONLY;
use crate::words::{ConversationKey, Principal};

/// Refusals that are logged within a minute: enough to see who, too few to fill a disk.
const REFUSALS_LOGGED: u32 = 10;

/// The policies of every operation, and who decides them.
pub struct RateLimits {
    routes: HashMap<String, Vec<Arc<Policy>>>,
    policies: HashMap<Arc<str>, Arc<Policy>>,
    labels: HashMap<Arc<str>, Name>,
    limiter: Arc<dyn Limiter>,
    metrics: Arc<Metrics>,
    refusals: Quiet,
    most_limited: Mutex<MostLimited>,
}

impl RateLimits {
    /// Reads which policies each of these operations (`POST /api/v1/chat`) asks. Fails with every unknown operation,
    /// unknown policy and impossible policy of the configuration.
    pub fn new(
        settings: &config::Limits,
        operations: &[&str],
        limiter: Arc<dyn Limiter>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, WrongLimits> {
        let Routes { routes, policies } = routes(settings, operations)?;
        policies.values().for_each(|policy| touch(&metrics, policy, limiter.backends()));
        Ok(Self {
            labels: policies.keys().map(|name| (Arc::clone(name), Name::from(&**name))).collect(),
            routes,
            policies,
            limiter,
            metrics,
            refusals: Quiet::new("rate_limit_exceeded", REFUSALS_LOGGED),
            most_limited: Mutex::new(MostLimited::new()),
        })
    }

    /// Asks the policies of `operation` (`POST /api/v1/chat`), counts, and logs a refusal. `None`: the operation is not limited.
    pub async fn decide(&self, operation: &str, subject: &Subject<'_>) -> Option<Verdict> {
        let checks = self.checks(operation, subject);
        if checks.is_empty() {
            return None;
        }
        log_identifier(subject);
        let began = Instant::now();
        let verdict = self.limiter.decide(&checks).await;
        self.metrics.rate_limit.duration.observe(&(verdict.backend,), began.elapsed());

        self.measure(&verdict, subject);
        if !verdict.is_allowed() {
            self.refused(operation, subject, &verdict);
        }
        Some(verdict)
    }

    /// How the subject stands with the policies of `operation`, without counting anything: for a socket's `hello`.
    pub async fn standing(&self, operation: &str, subject: &Subject<'_>) -> Vec<Standing> {
        let checks = self.checks(operation, subject);
        if checks.is_empty() { Vec::new() } else { self.limiter.look(&checks).await.standings }
    }

    /// The `n` callers that were refused most often of late, as the log names them, and about how often.
    pub fn most_limited(&self, n: usize) -> Vec<(String, u64)> {
        self.most_limited.lock().unwrap_or_else(PoisonError::into_inner).first(n)
    }

    fn checks(&self, operation: &str, subject: &Subject<'_>) -> Vec<Check> {
        let policies = self.routes.get(operation).map(Vec::as_slice).unwrap_or_default();
        let check = |policy: &Arc<Policy>| {
            key(policy.scope, subject).map(|subject| Check { policy: Arc::clone(policy), subject })
        };
        let mut checks = Vec::new();
        for policy in policies {
            match subject.policies.filter(|_| &*policy.name == DEFAULT) {
                None => checks.extend(check(policy)),
                Some(own) => checks.extend(self.named(own).filter_map(check)),
            }
        }
        checks
    }

    /// The policies of these names. That they exist was checked when the credential was.
    fn named<'a>(&'a self, names: &'a [String]) -> impl Iterator<Item = &'a Arc<Policy>> {
        names.iter().filter_map(|name| self.policies.get(name.as_str()))
    }

    fn measure(&self, verdict: &Verdict, subject: &Subject<'_>) {
        for Standing { policy, retry_after, .. } in &verdict.standings {
            let Some(label) = self.labels.get(&policy.name) else { continue };
            let decision = if retry_after.is_none() { Decision::Allowed } else { Decision::Refused };
            let identified_by = identified_by(policy.scope, subject);
            self.metrics.rate_limit.decisions.inc(&(label.clone(), decision, verdict.backend, identified_by));
        }
    }

    fn refused(&self, operation: &str, subject: &Subject<'_>, verdict: &Verdict) {
        let client = subject.principal.log_name();
        self.most_limited.lock().unwrap_or_else(PoisonError::into_inner).count(client.clone());

        let line = self.refusals.line(&self.metrics.process);
        // One line for one refusal: the first policy that refused tells enough.
        let first =
            verdict.standings.iter().find_map(|it| it.retry_after.map(|wait| (&*it.policy.name, wait)));
        let Some((policy, wait)) = first else { return };
        let retry_after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        if let Some(suppressed) = line {
            warn!(
                event = "rate_limit_exceeded",
                client, operation, policy, retry_after_ms, suppressed, "too many requests"
            );
        } else {
            info!(target: SPAN_ONLY, event = "rate_limit_exceeded", operation, policy, retry_after_ms);
        }
    }
}

impl std::fmt::Debug for RateLimits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimits").field("routes", &self.routes).finish_non_exhaustive()
    }
}

/// What a policy counts by; `None` where it has nothing to count.
fn key(scope: Scope, subject: &Subject<'_>) -> Option<String> {
    match scope {
        Scope::Ip => Some(subject.address.to_string()),
        Scope::Principal => Some(subject.principal.to_string()),
        Scope::Conversation => {
            subject.conversation.map(|id| ConversationKey::of(subject.principal, id).to_string())
        }
        Scope::Global => Some("everybody".to_owned()),
    }
}

fn identified_by(scope: Scope, subject: &Subject<'_>) -> IdentifiedBy {
    match scope {
        Scope::Ip => subject.identified_by,
        Scope::Principal => match subject.principal {
            Principal::Address(_) => subject.identified_by,
            Principal::Key(_) | Principal::Subject(_) => IdentifiedBy::Principal,
        },
        Scope::Conversation | Scope::Global => IdentifiedBy::None,
    }
}

fn log_identifier(subject: &Subject<'_>) {
    match subject.identified_by {
        IdentifiedBy::Header => debug!(
            event = "rate_limit_identifier_from_header",
            client = subject.address.cut(),
            "a header of a trusted proxy told who the client is"
        ),
        IdentifiedBy::Connection => debug!(
            event = "rate_limit_identifier_from_connection",
            client = subject.address.cut(),
            "the connection told who the client is"
        ),
        IdentifiedBy::Principal | IdentifiedBy::None => {}
    }
}

/// Lets a policy's series begin at zero, so that its first refusal is seen as an increase.
fn touch(metrics: &Metrics, policy: &Policy, backends: &[Backend]) {
    let sources: &[IdentifiedBy] = match policy.scope {
        Scope::Ip | Scope::Principal => &[IdentifiedBy::Header, IdentifiedBy::Connection],
        Scope::Conversation | Scope::Global => &[IdentifiedBy::None],
    };
    for &source in sources {
        for &decision in Decision::ALL {
            for &backend in backends {
                let labels = (Name::from(&*policy.name), decision, backend, source);
                metrics.rate_limit.decisions.touch(&labels);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::LocalLimiter;
    use super::*;
    use crate::words::{ClientAddress, ConversationId};

    const CHAT: &str = "POST /api/v1/chat";
    const PERSONAS: &str = "GET /api/v1/personas";

    struct Fixture {
        limits: RateLimits,
        metrics: Arc<Metrics>,
    }

    fn limits(toml: &str) -> Fixture {
        let settings: config::Limits = toml::from_str(toml).unwrap();
        let metrics = Arc::new(Metrics::new());
        let limiter = Arc::new(LocalLimiter::new());
        let limits = RateLimits::new(&settings, &[CHAT, PERSONAS], limiter, Arc::clone(&metrics)).unwrap();
        Fixture { limits, metrics }
    }

    async fn asks(
        limits: &RateLimits,
        operation: &str,
        address: &str,
        conversation: Option<&str>,
    ) -> Option<bool> {
        let address = ClientAddress::from(address.parse::<IpAddr>().unwrap());
        let conversation: Option<ConversationId> = conversation.map(|id| id.parse().unwrap());
        let subject = Subject {
            address: &address,
            principal: &Principal::Address(address),
            conversation: conversation.as_ref(),
            identified_by: IdentifiedBy::Connection,
            policies: None,
        };
        limits.decide(operation, &subject).await.map(|verdict| verdict.is_allowed())
    }

    const TWO_EACH: &str = r#"
        routes = { "GET /api/v1/personas" = [] }
        [policies.default]
        quota = 2
        window = "60s"
        scope = "ip"
        strategy = "fixed_window"
    "#;

    #[tokio::test(start_paused = true)]
    async fn each_address_has_its_own_quota_and_a_route_may_have_none() {
        let Fixture { limits, metrics } = limits(TWO_EACH);
        for address in ["192.0.2.1", "192.0.2.2"] {
            assert_eq!(asks(&limits, CHAT, address, None).await, Some(true));
            assert_eq!(asks(&limits, CHAT, address, None).await, Some(true));
            assert_eq!(asks(&limits, CHAT, address, None).await, Some(false));
        }
        assert_eq!(asks(&limits, PERSONAS, "192.0.2.1", None).await, None);

        let refused = ("default".into(), Decision::Refused, Backend::Local, IdentifiedBy::Connection);
        assert_eq!(metrics.rate_limit.decisions.get(&refused), 2);
        assert_eq!(limits.most_limited(5), [("192.0.2.0/24".to_owned(), 2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_logged_ten_times_a_minute_and_counted_beyond() {
        let Fixture { limits, metrics } = limits(TWO_EACH);
        for _ in 0..32 {
            asks(&limits, CHAT, "192.0.2.1", None).await;
        }
        assert_eq!(metrics.process.suppressed.get(&("rate_limit_exceeded".into(),)), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_policy_of_conversations_passes_a_request_without_one() {
        let Fixture { limits, .. } = limits(
            r#"
            routes = { "GET /api/v1/personas" = [] }
            [policies.default]
            quota = 1
            window = "60s"
            scope = "conversation"
            strategy = "gcra"
        "#,
        );
        assert_eq!(asks(&limits, CHAT, "192.0.2.1", None).await, None);
        assert_eq!(asks(&limits, CHAT, "192.0.2.1", Some("a")).await, Some(true));
        assert_eq!(asks(&limits, CHAT, "192.0.2.2", Some("a")).await, Some(false));
        assert_eq!(asks(&limits, CHAT, "192.0.2.1", Some("b")).await, Some(true));
    }

    #[test]
    fn a_conversation_is_counted_for_its_own_principal() {
        let (address, id) = (ClientAddress::from(IpAddr::from([192, 0, 2, 1])), "team-42".parse().unwrap());
        let counted = |principal: &str| {
            let principal: Principal = principal.parse().unwrap();
            let identified_by = IdentifiedBy::Principal;
            let conversation = Some(&id);
            let subject = Subject {
                address: &address,
                principal: &principal,
                conversation,
                identified_by,
                policies: None,
            };
            key(Scope::Conversation, &subject).unwrap()
        };
        assert_ne!(counted("key:ada"), counted("key:bob"));
        assert_ne!(counted("key:ada"), counted("subject:ada"));
        assert_eq!(counted("address:192.0.2.1"), "team-42");
    }

    #[tokio::test(start_paused = true)]
    async fn looking_at_the_standing_counts_nothing() {
        let Fixture { limits, .. } = limits(TWO_EACH);
        let address = ClientAddress::from("192.0.2.1".parse::<IpAddr>().unwrap());
        let subject = Subject {
            address: &address,
            principal: &Principal::Address(address),
            conversation: None,
            identified_by: IdentifiedBy::Connection,
            policies: None,
        };
        limits.decide(CHAT, &subject).await;
        for _ in 0..3 {
            assert_eq!(limits.standing(CHAT, &subject).await[0].remaining, 1);
        }
    }
}
