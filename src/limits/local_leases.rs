//! Places held in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::dismissals::{Dismissal, LocalDismissals};
use super::{Admission, Leases, LeasesUnavailable, NoteName, NotesUnavailable};
use crate::telemetry::metrics::{LeaseKind, Metrics};
use crate::words::{ConnectionId, Principal, PrincipalHash};

/// Places of all principals together: far above what one replica can serve, so only a flood of tickets gets here.
const MAX_PLACES: usize = 100_000;
/// How often places nobody asks about are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// One holder's place.
#[derive(Debug)]
struct Place {
    holder: ConnectionId,
    expires: Instant,
    /// A ticket is used or runs out; only a socket renews.
    kind: LeaseKind,
}

/// Places held in this process, for a service of one replica.
#[derive(Debug)]
pub struct LocalLeases {
    held: Mutex<Held>,
    dismissals: LocalDismissals,
}

impl LocalLeases {
    /// No place is taken.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self::with_room_for(MAX_PLACES, metrics)
    }

    fn with_room_for(most_places: usize, metrics: Arc<Metrics>) -> Self {
        Self {
            held: Mutex::new(Held {
                places: HashMap::new(),
                taken: 0,
                replaced: HashMap::new(),
                swept: Instant::now(),
                most_places,
                metrics,
            }),
            dismissals: LocalDismissals::default(),
        }
    }

    fn with<R>(&self, ask: impl FnOnce(&mut Held, Instant) -> R) -> R {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        ask(&mut held, Instant::now())
    }
}

#[async_trait]
impl Leases for LocalLeases {
    async fn admit(
        &self,
        principal: &Principal,
        holder: ConnectionId,
        most: usize,
        ttl: Duration,
        replace_oldest: bool,
    ) -> Admission {
        self.with(|held, now| held.admit(principal, holder, most, now, ttl, replace_oldest))
    }

    async fn renew(&self, holders: &[(Principal, ConnectionId)], ttl: Duration) -> Vec<ConnectionId> {
        self.with(|held, now| {
            let replaced =
                |(principal, holder): &&(Principal, ConnectionId)| !held.renew(principal, *holder, now, ttl);
            holders.iter().filter(replaced).map(|(_, holder)| *holder).collect()
        })
    }

    async fn release(&self, principal: &Principal, holder: ConnectionId) {
        self.with(|held, _| held.release(principal, holder));
    }

    async fn leave(&self, _: &NoteName, _: &str, _: Duration) -> bool {
        false
    }

    async fn collect(&self, _: &NoteName) -> Result<Option<String>, NotesUnavailable> {
        Ok(None)
    }

    async fn held(&self, principal: &Principal) -> usize {
        self.with(|held, now| {
            held.prune(principal, now);
            held.places.get(principal).map_or(0, Vec::len)
        })
    }

    async fn holders(&self, principal: &Principal, most: usize) -> Vec<ConnectionId> {
        self.with(|held, now| {
            held.prune(principal, now);
            let places = held.places.get(principal).into_iter().flatten();
            places.map(|place| place.holder).take(most).collect()
        })
    }

    async fn dismiss(&self, principal: &Principal) -> Result<(), LeasesUnavailable> {
        self.dismissals.add(PrincipalHash::of(principal));
        Ok(())
    }

    async fn dismissed(&self) -> Vec<Dismissal> {
        self.dismissals.all()
    }
}

#[derive(Debug)]
struct Held {
    /// Each principal's places, the oldest first.
    places: HashMap<Principal, Vec<Place>>,
    /// How many there are of all principals together.
    taken: usize,
    /// Who lost a place to a newer one and has not been told by [`Leases::renew`]; until when that is kept.
    replaced: HashMap<ConnectionId, Instant>,
    swept: Instant,
    most_places: usize,
    metrics: Arc<Metrics>,
}

impl Held {
    fn admit(
        &mut self,
        principal: &Principal,
        holder: ConnectionId,
        most: usize,
        now: Instant,
        ttl: Duration,
        replace_oldest: bool,
    ) -> Admission {
        self.sweep(now);
        self.prune(principal, now);
        self.replaced.remove(&holder);
        if self.prolong(principal, holder, now + ttl) {
            return Admission::Granted { replaced: None };
        }
        let mut replaced = None;
        if self.places.get(principal).map_or(0, Vec::len) >= most {
            replaced = if replace_oldest { self.give_up_oldest(principal, now + ttl) } else { None };
            if replaced.is_none() {
                return self.full(principal, now, ttl);
            }
        } else if self.taken >= self.most_places {
            return Admission::Full { retry_after: SWEEP_EVERY };
        }
        self.take(principal, Place { holder, expires: now + ttl, kind: LeaseKind::Ticket });
        Admission::Granted { replaced }
    }

    /// Whether the holder has its place; `false` if a newer one has it.
    fn renew(&mut self, principal: &Principal, holder: ConnectionId, now: Instant, ttl: Duration) -> bool {
        if self.replaced.get(&holder).is_some_and(|until| *until > now) {
            return false;
        }
        let expires = now + ttl;
        if !self.prolong(principal, holder, expires) {
            self.take(principal, Place { holder, expires, kind: LeaseKind::Socket });
        }
        if let Some(place) = self.place(principal, holder) {
            place.kind = LeaseKind::Socket;
        }
        true
    }

    fn release(&mut self, principal: &Principal, holder: ConnectionId) {
        self.replaced.remove(&holder);
        let Some(places) = self.places.get_mut(principal) else { return };
        let before = places.len();
        places.retain(|place| place.holder != holder);
        self.taken -= before - places.len();
        if places.is_empty() {
            self.places.remove(principal);
        }
    }

    fn place(&mut self, principal: &Principal, holder: ConnectionId) -> Option<&mut Place> {
        self.places.get_mut(principal)?.iter_mut().find(|place| place.holder == holder)
    }

    fn prolong(&mut self, principal: &Principal, holder: ConnectionId, until: Instant) -> bool {
        let Some(place) = self.place(principal, holder) else { return false };
        place.expires = place.expires.max(until);
        true
    }

    fn take(&mut self, principal: &Principal, place: Place) {
        self.places.entry(principal.clone()).or_default().push(place);
        self.taken += 1;
    }

    fn give_up_oldest(&mut self, principal: &Principal, until: Instant) -> Option<ConnectionId> {
        let places = self.places.get_mut(principal).filter(|places| !places.is_empty())?;
        let oldest = places.remove(0);
        self.taken -= 1;
        if self.replaced.len() < self.most_places {
            // Its holder renews before its own time runs out, so it is told by then.
            self.replaced.insert(oldest.holder, oldest.expires.max(until));
        }
        Some(oldest.holder)
    }

    fn full(&self, principal: &Principal, now: Instant, ttl: Duration) -> Admission {
        let places = self.places.get(principal).map(Vec::as_slice).unwrap_or_default();
        let first = places.iter().map(|place| place.expires.duration_since(now)).min();
        Admission::Full { retry_after: first.unwrap_or(ttl) }
    }

    fn prune(&mut self, principal: &Principal, now: Instant) {
        let Some(places) = self.places.get_mut(principal) else { return };
        self.taken -= drop_expired(places, now, &self.metrics);
        if places.is_empty() {
            self.places.remove(principal);
        }
    }

    /// Drops the expired places of principals who do not come back.
    fn sweep(&mut self, now: Instant) {
        if now.duration_since(self.swept) < SWEEP_EVERY {
            return;
        }
        self.swept = now;
        self.replaced.retain(|_, until| *until > now);
        let (taken, metrics) = (&mut self.taken, &self.metrics);
        self.places.retain(|_, places| {
            *taken -= drop_expired(places, now, metrics);
            !places.is_empty()
        });
    }
}

/// Drops and counts those whose time has run out; answers how many.
fn drop_expired(places: &mut Vec<Place>, now: Instant, metrics: &Metrics) -> usize {
    let before = places.len();
    places.retain(|place| {
        let live = place.expires > now;
        if !live {
            metrics.leases.expired.inc(&(place.kind,));
        }
        live
    });
    before - places.len()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::words::{ClientAddress, new_ulid};

    const TTL: Duration = Duration::from_secs(30);

    fn caller(n: u32) -> Principal {
        Principal::Address(ClientAddress::from(IpAddr::from(n.to_be_bytes())))
    }

    fn holder() -> ConnectionId {
        ConnectionId(new_ulid(0))
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_tickets_is_bounded_and_passes() {
        let leases = LocalLeases::with_room_for(10, Arc::new(Metrics::new()));
        for n in 0..100 {
            let admission = leases.admit(&caller(n), holder(), 5, TTL, false).await;
            assert_eq!(matches!(admission, Admission::Granted { .. }), n < 10);
        }
        tokio::time::advance(TTL).await;
        let admission = leases.admit(&caller(200), holder(), 5, TTL, false).await;
        assert_eq!(admission, Admission::Granted { replaced: None });
        assert_eq!(leases.with(|held, _| (held.places.len(), held.taken)), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_runs_out_is_counted_as_a_ticket_until_it_was_renewed() {
        let metrics = Arc::new(Metrics::new());
        let leases = LocalLeases::new(Arc::clone(&metrics));
        let (ticket, socket) = (holder(), holder());
        leases.admit(&caller(1), ticket, 5, TTL, false).await;
        leases.admit(&caller(1), socket, 5, TTL, false).await;
        leases.renew(&[(caller(1), socket)], TTL).await;

        tokio::time::advance(TTL).await;
        assert_eq!(leases.held(&caller(1)).await, 0);
        assert_eq!(metrics.leases.expired.get(&(LeaseKind::Ticket,)), 1);
        assert_eq!(metrics.leases.expired.get(&(LeaseKind::Socket,)), 1);
    }
}
