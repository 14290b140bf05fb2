//! Limits: how often something may be asked (`Limiter`), and how many of something may be held (`Leases`).

mod dismissals;
mod fixed_window;
mod gcra;
mod local;
mod local_leases;
mod most_limited;
mod rate_limits;
mod remote;
mod remote_leases;
mod routes;
mod slots;
mod unanswered;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::config::{Scope, Strategy};
pub use dismissals::Dismissal;
pub use local::LocalLimiter;
pub use local_leases::LocalLeases;
pub use rate_limits::RateLimits;
pub use remote::RedisLimiter;
pub use remote_leases::RedisLeases;
pub use routes::WrongLimits;

use crate::telemetry::metrics::{Backend, IdentifiedBy};
use crate::words::{ClientAddress, ConnectionId, ConversationId, Principal};

/// The operation a `chat` frame counts as.
pub const CHAT_FRAME: &str = "POST /api/v1/chat/stream";
/// The operation that follows and resumes a turn; a `resume` frame counts as this.
pub const RESUME: &str = "GET /api/v1/turns/{turn_id}/events";
/// What a request without a valid credential counts as.
pub const FAILED_AUTHENTICATION: &str = "failed authentication";

/// A named policy: at most `quota` within `window` for each subject of its scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name in the configuration, in headers and in metrics.
    pub name: Arc<str>,
    /// How many.
    pub quota: u32,
    /// Within how long.
    pub window: Duration,
    /// Whose requests are counted together.
    pub scope: Scope,
    /// How.
    pub strategy: Strategy,
}

/// One policy asked for one subject (an address, a principal, a conversation, or everybody).
#[derive(Clone, Debug)]
pub struct Check {
    /// The policy.
    pub policy: Arc<Policy>,
    /// Who is counted; only ever used as a key.
    pub subject: String,
}

/// Where a subject stands with a policy after a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The policy.
    pub policy: Arc<Policy>,
    /// How many more it would allow now.
    pub remaining: u32,
    /// When the quota is whole again (fixed window: when the window ends).
    pub reset: Duration,
    /// When refused: how long until one would be allowed.
    pub retry_after: Option<Duration>,
}

/// What all policies of a request said together.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// One entry for each check, in order. Refused if any has a `retry_after`.
    pub standings: Vec<Standing>,
    /// Who decided.
    pub backend: Backend,
}

impl Verdict {
    /// Whether every policy allowed it.
    pub fn is_allowed(&self) -> bool {
        self.standings.iter().all(|standing| standing.retry_after.is_none())
    }
}

/// Decides whether something may happen now.
#[async_trait]
pub trait Limiter: Send + Sync + 'static {
    /// Decides all checks as one: all are counted, or, if one refuses, none. Never fails: without its store an
    /// implementation falls back and says so in `backend`.
    async fn decide(&self, checks: &[Check]) -> Verdict;

    /// What [`Self::decide`] would find, counting nothing.
    async fn look(&self, checks: &[Check]) -> Verdict;

    /// Who may decide.
    fn backends(&self) -> &'static [Backend];
}

/// What became of a request for a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The place is held until it is released or its time runs out.
    Granted {
        /// Whose place it took over, if the rule is to replace the oldest.
        replaced: Option<ConnectionId>,
    },
    /// All places are taken.
    Full {
        /// When the first of them may become free at the latest.
        retry_after: Duration,
    },
}

/// Other replicas cannot be told anything now.
#[derive(Debug, thiserror::Error)]
#[error("the store of places is not available")]
pub struct LeasesUnavailable(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Places of which each principal has a few, over all replicas. A place is a lease: it ends by itself unless renewed.
#[async_trait]
pub trait Leases: Send + Sync + 'static {
    /// Takes one of `most` places for `ttl`. With `replace_oldest`, a full house gives up its oldest place instead.
    async fn admit(
        &self,
        principal: &Principal,
        holder: ConnectionId,
        most: usize,
        ttl: Duration,
        replace_oldest: bool,
    ) -> Admission;

    /// Prolongs the places of these holders; answers those that no longer have one because it was replaced. A holder
    /// whose place ran out gets it back, even beyond `most`: it is there, so it is counted, and nobody is thrown out.
    async fn renew(&self, holders: &[(Principal, ConnectionId)], ttl: Duration) -> Vec<ConnectionId>;

    /// Gives a place back at once.
    async fn release(&self, principal: &Principal, holder: ConnectionId);

    /// How many places of this principal are taken.
    async fn held(&self, principal: &Principal) -> usize;

    /// Who has the places of this principal, at most so many; without the store, what is known here.
    async fn holders(&self, principal: &Principal, most: usize) -> Vec<ConnectionId>;

    /// Tells all replicas that this principal's sockets are to end.
    async fn dismiss(&self, principal: &Principal) -> Result<(), LeasesUnavailable>;

    /// Who was dismissed within the last minute, and when, by the clock of this replica; nobody without the store.
    async fn dismissed(&self) -> Vec<Dismissal>;

    /// Leaves a note under a name that nobody can guess, for whichever replica asks for it first; gone after `ttl`.
    /// `false`: only this process could be told, so it has to keep the note itself.
    async fn leave(&self, name: &NoteName, note: &str, ttl: Duration) -> bool;

    /// Takes a note away: one caller gets it, once.
    async fn collect(&self, name: &NoteName) -> Result<Option<String>, NotesUnavailable>;
}

/// A hash of what whoever may collect a note was given.
pub type NoteName = [u8; 32];

/// Notes cannot be collected now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("notes cannot be collected now")]
pub struct NotesUnavailable;

/// Whose request it is, in the terms of the scopes.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// The client's address (scope `ip`).
    pub address: &'a ClientAddress,
    /// The principal (scope `principal`).
    pub principal: &'a Principal,
    /// The conversation as the principal calls it (scope `conversation`); a policy of that scope passes a request without one.
    pub conversation: Option<&'a ConversationId>,
    /// What told who the client is; a label of the metric.
    pub identified_by: IdentifiedBy,
    /// The policies that count this caller in place of `default`, where its credential names any.
    pub policies: Option<&'a [String]>,
}
