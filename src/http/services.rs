//! What handlers reach for.

use std::sync::Arc;

use tokio::time::Instant;

use crate::auth::{Authenticator, Grant};
use crate::chat::{Caller, Chat, IdempotencyKey};
use crate::config::Config;
use crate::http::{Admission, Health};
use crate::limits::{RateLimits, Subject};
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::{IdentifiedBy, Metrics, Transport};
use crate::words::{ClientAddress, ConversationId, Principal, RequestId};

/// Everything a handler may use; made once by `app.rs`, shared by all requests.
#[derive(Clone)]
pub struct Services {
    /// The settings in force.
    pub config: Arc<Config>,
    /// The product.
    pub chat: Arc<Chat>,
    /// Who may ask.
    pub auth: Arc<Authenticator>,
    /// The limits of every operation.
    pub limits: Arc<RateLimits>,
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// Whether this replica is started, ready, alive.
    pub health: Arc<Health>,
    /// Whether one more turn may begin.
    pub admission: Arc<Admission>,
    /// How it learns to stop.
    pub shutdown: Shutdown,
}

/// Who is asking, established once per request by the edge and kept in the request's extensions.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Ties the request, its log lines and its turn together.
    pub request_id: RequestId,
    /// The client's address behind trusted proxies.
    pub address: ClientAddress,
    /// What told so.
    pub identified_by: IdentifiedBy,
    /// Whose limits and places count.
    pub principal: Principal,
    /// What the caller's credential is worth; `None` where authentication is off.
    pub grant: Option<Arc<Grant>>,
    /// When the request's header was complete.
    pub arrived: Instant,
}

impl Identity {
    /// Whom limits count, for a request about this conversation or none.
    pub fn subject<'a>(&'a self, conversation: Option<&'a ConversationId>) -> Subject<'a> {
        Subject {
            address: &self.address,
            principal: &self.principal,
            conversation,
            identified_by: self.identified_by,
            policies: self.grant.as_ref().and_then(|grant| grant.policies()).map(|policies| &**policies),
        }
    }

    /// The caller as the chat service wants it.
    pub fn caller(&self, transport: Transport, idempotency_key: Option<IdempotencyKey>) -> Caller {
        Caller {
            principal: self.principal.clone(),
            personas: self.grant.as_ref().and_then(|grant| grant.personas()).cloned().into(),
            request_id: self.request_id.clone(),
            transport,
            arrived: self.arrived,
            idempotency_key,
        }
    }
}
