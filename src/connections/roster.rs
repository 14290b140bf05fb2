//! What an operator may see and do: whose sockets are open, and ending all of somebody's.

use std::collections::BTreeMap;

use tracing::info;

use super::orders::Order;
use super::{Connections, Entry};
use crate::limits::LeasesUnavailable;
use crate::words::{ConnectionId, Principal, PrincipalHash, Timestamp};

/// A socket that was opened so shortly after its caller was dismissed may have been opened before: clocks differ.
const CLOCKS_DIFFER_MS: u64 = 2_000;

/// One place for a socket, somewhere in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The socket's id.
    pub id: ConnectionId,
    /// Since when the place is held, by the clock of the replica that holds it.
    pub since: Timestamp,
    /// What this replica knows of it, if it is here.
    pub here: Option<Here>,
}

/// A place that this replica holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Here {
    /// The client's address, cut as logs show it, where it is known.
    pub client: Option<String>,
}

impl Connections {
    /// A principal's places over the whole cluster, the oldest first: at most `most`. Without the shared store, those here.
    pub async fn of(&self, principal: &Principal, most: usize) -> Vec<Seen> {
        let elsewhere = self.leases.holders(principal, most).await.into_iter().map(|id| (id, None));
        let mut all: BTreeMap<ConnectionId, Option<Here>> = elsewhere.collect();
        all.extend(self.here(principal));
        let seen = |(id, here): (ConnectionId, Option<Here>)| {
            let since = Timestamp::from_millis(id.0.timestamp_ms());
            Seen { id, since, here }
        };
        all.into_iter().take(most).map(seen).collect()
    }

    fn here(&self, principal: &Principal) -> Vec<(ConnectionId, Option<Here>)> {
        let register = self.register();
        let own = register.entries.iter().filter(|(_, entry)| entry.principal == *principal);
        own.map(|(id, entry)| (*id, Some(Here { client: entry.client.clone() }))).collect()
    }

    /// Closes all sockets of this principal here, as [`AuthExpired`](crate::telemetry::metrics::SocketEnd::AuthExpired): the
    /// client should not come back until something has changed. Answers how many there were, held places among them.
    pub fn disconnect(&self, principal: &Principal) -> usize {
        self.dismiss_if(|_, entry| entry.principal == *principal)
    }

    /// The same on every replica, within about a second. Fails if the others could not be told; here it is done by then.
    pub async fn disconnect_everywhere(&self, principal: &Principal) -> Result<usize, LeasesUnavailable> {
        let here = self.disconnect(principal);
        info!(
            event = "principal_disconnected",
            client = principal.log_name(),
            sockets = here,
            "an operator asked"
        );
        self.leases.dismiss(principal).await?;
        Ok(here)
    }

    /// Carries out what other replicas were asked. Whoever came back since may stay, so hearing of it again changes nothing.
    pub(super) async fn hear_of_dismissals(&self) {
        if self.census().total == 0 {
            return;
        }
        for (principal, at) in self.leases.dismissed().await {
            self.dismiss(principal, at);
        }
    }

    fn dismiss(&self, principal: PrincipalHash, at: Timestamp) {
        let until = at.as_millis() + CLOCKS_DIFFER_MS;
        self.dismiss_if(|id, entry| entry.hash == principal && id.0.timestamp_ms() <= until);
    }

    fn dismiss_if(&self, is_meant: impl Fn(&ConnectionId, &Entry) -> bool) -> usize {
        let register = self.register();
        let meant = register.entries.iter().filter(|(id, entry)| is_meant(id, entry));
        meant.map(|(_, entry)| entry.line.give(Order::Dismissed)).count()
    }
}
