//! Places held for browsers, which can neither read why an upgrade was refused nor send a credential with it.
//!
//! A ticket works on any replica: what it stands for lies where all replicas look (`Leases::leave`), under its hash. Where
//! only this process can be asked, it is kept here, with its place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Connections, Place, Refused};
use crate::auth::Grant;
use crate::limits::NoteName;
use crate::telemetry::metrics::LeaseKind;
use crate::words::{ConnectionId, Principal, Timestamp};

/// How long a ticket's place is held (`design.md` §4).
pub const TICKET_TTL: Duration = Duration::from_secs(30);

/// The right to one upgrade, or to follow one turn. Whoever shows it has the place, so it cannot be guessed and works once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// 128 random bits, as text.
    pub text: String,
    /// When it is worth nothing any more.
    pub expires_at: Timestamp,
}

/// What a ticket was given for.
pub struct Redeemed {
    /// The place that was held.
    pub place: Place,
    /// What the ticket's owner may do; `None` where authentication is off.
    pub grant: Option<Arc<Grant>>,
}

/// Why a ticket buys nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unredeemed {
    /// There is no such ticket: it was never given, was used, or is too old.
    #[error("the ticket is not known")]
    Unknown,
    /// Whether there is one cannot be found out now.
    #[error("tickets cannot be looked up now")]
    Unavailable,
    /// There is, but this replica has no room.
    #[error("the place cannot be taken over")]
    Refused(#[from] Refused),
}

/// What every replica has to know of a ticket.
#[derive(Serialize, Deserialize)]
struct Note {
    connection: ConnectionId,
    principal: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grant: Option<Arc<Grant>>,
}

/// Tickets given here, by their hash; each is or was one of the replica's places, so there are never more than those.
#[derive(Default)]
pub(super) struct Tickets(Mutex<HashMap<NoteName, Redeemed>>);

impl Tickets {
    fn lock(&self) -> MutexGuard<'_, HashMap<NoteName, Redeemed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, name: &NoteName) -> Option<Redeemed> {
        self.lock().remove(name)
    }
}

impl Connections {
    /// Makes the decision of [`Self::admit`] and holds the place for [`TICKET_TTL`].
    pub async fn ticket(
        self: &Arc<Self>,
        principal: &Principal,
        grant: Option<Arc<Grant>>,
    ) -> Result<Ticket, Refused> {
        let place = self.admit(principal).await?;
        let text = format!("{:032x}", rand::random::<u128>());
        let ttl = u64::try_from(TICKET_TTL.as_millis()).unwrap_or(u64::MAX);
        let expires_at = Timestamp::from_millis(Timestamp::now().as_millis() + ttl);

        let (name, note) = (name_of(&text), note(&place, grant.clone()));
        if self.leases.leave(&name, &note, TICKET_TTL).await {
            // Whoever collects the note has the place; if nobody does, it runs out.
            place.leave();
        } else {
            self.tickets.lock().insert(name, Redeemed { place, grant });
            self.is_ticket(1);
            self.shutdown.spawn(expire(self.clone(), name));
        }
        Ok(Ticket { text, expires_at })
    }

    /// Takes over the place that is held for this ticket; nobody else can after that.
    pub async fn redeem(self: &Arc<Self>, text: &str) -> Result<Redeemed, Unredeemed> {
        let name = name_of(text);
        if let Some(redeemed) = self.tickets.take(&name) {
            self.is_ticket(-1);
            return Ok(redeemed);
        }
        let collected = self.leases.collect(&name).await.map_err(|_| Unredeemed::Unavailable)?;
        let note: Note =
            collected.and_then(|note| serde_json::from_str(&note).ok()).ok_or(Unredeemed::Unknown)?;
        let principal: Principal = note.principal.parse().map_err(|_| Unredeemed::Unknown)?;
        let place = self.take_over(note.connection, &principal).await?;
        Ok(Redeemed { place, grant: note.grant })
    }

    /// Makes a place that another replica was granted one of ours.
    async fn take_over(self: &Arc<Self>, id: ConnectionId, principal: &Principal) -> Result<Place, Refused> {
        let place = self.reserve(id, principal);
        let held = [(principal.clone(), id)];
        match place {
            Ok(place) => {
                self.leases.renew(&held, self.settings.lease()).await;
                self.granted(id, None);
                Ok(place)
            }
            Err(refused) => {
                self.leases.release(principal, id).await;
                self.rejected(principal, &refused);
                Err(refused)
            }
        }
    }

    /// A place is counted as what it is held for.
    fn is_ticket(&self, change: i64) {
        self.metrics.leases.held.add(&(LeaseKind::Ticket,), change);
        self.metrics.leases.held.add(&(LeaseKind::Socket,), -change);
    }
}

/// Who sees the store sees no ticket.
fn name_of(text: &str) -> NoteName {
    Sha256::digest(text.as_bytes()).into()
}

fn note(place: &Place, grant: Option<Arc<Grant>>) -> String {
    let note = Note { connection: place.id(), principal: place.principal().to_string(), grant };
    serde_json::to_string(&note).unwrap_or_default()
}

/// Gives the place back if nobody came for it.
async fn expire(connections: Arc<Connections>, name: NoteName) {
    let closing = connections.shutdown.closing();
    let _ = tokio::time::timeout(TICKET_TTL, closing.cancelled()).await;
    if connections.tickets.take(&name).is_some() {
        connections.is_ticket(-1);
        connections.metrics.leases.expired.inc(&(LeaseKind::Ticket,));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzz_ticket_notes() {
        crate::fuzz::run("ticket_notes", |bytes| {
            let Ok(note) = serde_json::from_slice::<Note>(bytes) else { return };
            let written = serde_json::to_string(&note).unwrap();
            assert_eq!(serde_json::from_str::<Note>(&written).unwrap().grant, note.grant);
        });
    }
}
