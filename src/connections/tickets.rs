//! Places held for browsers, which cannot read why an upgrade was refused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Connections, Place, Refused};
use crate::telemetry::metrics::LeaseKind;
use crate::words::{Principal, Timestamp};

/// How long a ticket's place is held (`design.md` §4).
pub const TICKET_TTL: Duration = Duration::from_secs(30);

/// The right to one upgrade. Whoever shows it has the place, so it cannot be guessed and works once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// 128 random bits, as text.
    pub text: String,
    /// When it is worth nothing any more.
    pub expires_at: Timestamp,
}

/// Places held for tickets; each is one of the replica's places, so there are never more than those.
#[derive(Default)]
pub(super) struct Tickets(Mutex<HashMap<String, Place>>);

impl Tickets {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, text: &str) -> Option<Place> {
        self.lock().remove(text)
    }
}

impl Connections {
    /// Makes the decision of [`Self::admit`] and holds the place for [`TICKET_TTL`].
    pub async fn ticket(self: &Arc<Self>, principal: &Principal) -> Result<Ticket, Refused> {
        let place = self.admit(principal).await?;
        let text = format!("{:032x}", rand::random::<u128>());
        let ttl = u64::try_from(TICKET_TTL.as_millis()).unwrap_or(u64::MAX);
        let expires_at = Timestamp::from_millis(Timestamp::now().as_millis() + ttl);

        self.tickets.lock().insert(text.clone(), place);
        self.is_ticket(1);
        self.shutdown.spawn(expire(self.clone(), text.clone()));
        Ok(Ticket { text, expires_at })
    }

    /// Takes over the place that is held for this ticket; nobody else can after that.
    pub fn redeem(&self, text: &str) -> Option<Place> {
        let place = self.tickets.take(text)?;
        self.is_ticket(-1);
        Some(place)
    }

    /// A place is counted as what it is held for.
    fn is_ticket(&self, change: i64) {
        self.metrics.leases.held.add(&(LeaseKind::Ticket,), change);
        self.metrics.leases.held.add(&(LeaseKind::Socket,), -change);
    }
}

/// Gives the place back if nobody came for it.
async fn expire(connections: Arc<Connections>, text: String) {
    let closing = connections.shutdown.closing();
    let _ = tokio::time::timeout(TICKET_TTL, closing.cancelled()).await;
    if connections.redeem(&text).is_some() {
        connections.metrics.leases.expired.inc(&(LeaseKind::Ticket,));
    }
}
