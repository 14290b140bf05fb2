//! The manager's one task: renews all leases, removes what is stale, and tells all sockets when the replica stops.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tracing::{info, warn};

use super::orders::Order;
use super::{Connections, Lease};
use crate::telemetry::metrics::LeaseKind;
use crate::words::{ConnectionId, Principal};

/// Leases renewed by one call, so that a store answers other callers in between.
const BATCH: usize = 256;

/// How often this replica asks whose sockets are to end.
const HEAR_EVERY: Duration = Duration::from_secs(1);

/// Renews and cleans up until the replica stops and the last socket has closed.
pub(super) async fn run(connections: Arc<Connections>) {
    info!(event = "websocket_manager_started", "taking sockets");
    let websocket = &connections.settings.websocket;
    // Twice per heartbeat: one renewal may fail and nobody loses a place.
    let mut renewal = every(*websocket.heartbeat_interval / 2);
    let mut cleanup = every(*websocket.cleanup_interval);
    let mut hearing = every(HEAR_EVERY);
    let (closing, hard) = (connections.shutdown.closing(), connections.shutdown.hard());
    let mut told = Order::GoOn;
    loop {
        tokio::select! {
            () = hard.cancelled(), if told < Order::Stop => told = connections.tell_all(Order::Stop),
            () = closing.cancelled(), if told < Order::Drain => told = connections.tell_all(Order::Drain),
            () = connections.places.wait(), if told > Order::GoOn => break,
            _ = renewal.tick() => connections.renew().await,
            _ = cleanup.tick() => connections.remove_stale(),
            _ = hearing.tick() => connections.hear_of_dismissals().await,
        }
    }
    info!(event = "websocket_manager_stopped", "all sockets are closed");
}

fn every(period: Duration) -> Interval {
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

impl Connections {
    /// From here on nobody is admitted, and everybody who is here knows why.
    fn tell_all(&self, order: Order) -> Order {
        let mut register = self.register();
        register.is_closed = true;
        register.entries.values().for_each(|entry| entry.line.give(order));
        self.places.close();
        order
    }

    async fn renew(&self) {
        for batch in self.leased().chunks(BATCH) {
            let lost = self.leases.renew(batch, self.settings.lease()).await;
            self.replaced(&lost);
            for (principal, id) in self.gone(batch) {
                // It closed while its lease was renewed, and the renewal may have brought the lease back.
                self.leases.release(&principal, id).await;
            }
        }
    }

    fn leased(&self) -> Vec<(Principal, ConnectionId)> {
        let register = self.register();
        let leased = register.entries.iter().filter(|(_, entry)| entry.lease == Lease::Held);
        leased.map(|(id, entry)| (entry.principal.clone(), *id)).collect()
    }

    fn gone(&self, batch: &[(Principal, ConnectionId)]) -> Vec<(Principal, ConnectionId)> {
        let register = self.register();
        batch.iter().filter(|(_, id)| !register.entries.contains_key(id)).cloned().collect()
    }

    fn replaced(&self, lost: &[ConnectionId]) {
        let register = self.register();
        let lost = lost.iter().filter_map(|id| register.entries.get(id));
        lost.for_each(|entry| entry.line.give(Order::Replaced));
    }

    /// A place whose task gives no sign of life is a bug's; it must not cost its caller a place for ever.
    fn remove_stale(&self) {
        for id in self.stale() {
            warn!(event = "stale_connection_removed", connection_id = %id, "a socket gave no sign of life");
            self.metrics.leases.expired.inc(&(LeaseKind::Socket,));
            self.free(id);
        }
    }

    fn stale(&self) -> Vec<ConnectionId> {
        let register = self.register();
        let limit = self.settings.stale_after;
        let stale = register.entries.iter().filter(|(_, entry)| entry.line.last_alive().elapsed() > limit);
        stale.map(|(id, entry)| (entry.line.give(Order::Removed), *id).1).collect()
    }
}
