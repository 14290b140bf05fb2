//! What every implementation of `Leases` promises.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use polylogue::limits::{Admission, Leases, LocalLeases};
use polylogue::telemetry::metrics::Metrics;
use polylogue::words::{ClientAddress, ConnectionId, Principal, PrincipalHash, Timestamp, new_ulid};

use crate::contract::redis::{Connected, Shape};

/// Leases, and how long a place lasts here: 45 s in paused time, less where it really has to pass.
struct Stand {
    leases: Arc<dyn Leases>,
    ttl: Duration,
}

const MOST: usize = 5;

/// Hands every claim to another macro.
macro_rules! every_claim {
    ($then:ident) => {
        $then! {
            the_sixth_is_refused_and_told_when_to_come_back,
            a_release_frees_a_place_at_once,
            a_place_that_nobody_renews_is_free_after_its_time,
            a_renewed_place_is_kept,
            a_place_that_ran_out_comes_back_by_a_renewal,
            the_oldest_is_replaced_and_told,
            asking_twice_takes_one_place,
            however_many_come_at_once_no_more_than_there_are_places_get_in,
            principals_do_not_mix,
            who_has_the_places_is_known,
            who_is_dismissed_is_known_to_everybody_for_a_while,
        }
    };
}

macro_rules! local_tests {
    ($($claim:ident,)*) => {
        mod local {
            $(#[tokio::test(start_paused = true)] async fn $claim() { super::$claim(super::local()).await; })*
        }
    };
}
every_claim!(local_tests);

macro_rules! redis_tests {
    ($($claim:ident,)*) => {
        mod redis {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $claim() {
                    let alone = super::Shape::alone().await;
                    let connected = alone.connect_patiently();
                    super::$claim(super::remote(&connected)).await;
                }
            )*
        }

        /// Every claim on a Redis of a shape that takes longer to come up, side by side.
        async fn every_claim_holds(shape: Shape) {
            tokio::join!($(async {
                let connected = shape.connect_patiently();
                $claim(remote(&connected)).await;
            }),*);
        }
    };
}
every_claim!(redis_tests);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_claim_holds_behind_sentinel() {
    every_claim_holds(Shape::watched().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_claim_holds_on_a_cluster() {
    every_claim_holds(Shape::cluster().await).await;
}

fn local() -> Stand {
    let leases = LocalLeases::new(Arc::new(Metrics::new()));
    Stand { leases: Arc::new(leases), ttl: Duration::from_secs(45) }
}

fn remote(connected: &Connected) -> Stand {
    Stand { leases: Arc::new(connected.leases()), ttl: Duration::from_secs(2) }
}

const IN: Admission = Admission::Granted { replaced: None };

impl Stand {
    async fn admit(&self, holder: ConnectionId) -> Admission {
        self.leases.admit(&ada(), holder, MOST, self.ttl, false).await
    }

    async fn admit_for_the_oldest(&self, holder: ConnectionId) -> Admission {
        self.leases.admit(&ada(), holder, MOST, self.ttl, true).await
    }

    async fn fill(&self) -> Vec<ConnectionId> {
        let holders: Vec<_> = (0..MOST).map(|_| socket()).collect();
        for holder in &holders {
            assert_eq!(self.admit(*holder).await, IN);
        }
        holders
    }

    async fn renew(&self, holders: &[ConnectionId]) -> Vec<ConnectionId> {
        let holders: Vec<_> = holders.iter().map(|holder| (ada(), *holder)).collect();
        self.leases.renew(&holders, self.ttl).await
    }

    async fn held(&self) -> usize {
        self.leases.held(&ada()).await
    }

    /// Lets a part of a place's time pass.
    async fn pass(&self, part: f64) {
        tokio::time::sleep(self.ttl.mul_f64(part)).await;
    }
}

fn principal(address: &str) -> Principal {
    Principal::Address(ClientAddress::from(address.parse::<IpAddr>().unwrap()))
}

fn ada() -> Principal {
    principal("192.0.2.1")
}

/// Each is made later than the one before.
fn socket() -> ConnectionId {
    static MADE: AtomicU64 = AtomicU64::new(1_795_460_442_000);
    ConnectionId(new_ulid(MADE.fetch_add(1, Ordering::Relaxed)))
}

async fn the_sixth_is_refused_and_told_when_to_come_back(stand: Stand) {
    assert_eq!(stand.admit(socket()).await, IN);
    stand.pass(0.5).await;
    for _ in 1..MOST {
        assert_eq!(stand.admit(socket()).await, IN);
    }
    let Admission::Full { retry_after } = stand.admit(socket()).await else {
        panic!("there were {MOST} already")
    };
    assert!(retry_after > Duration::ZERO && retry_after <= stand.ttl.mul_f64(0.5));
    assert_eq!(stand.held().await, MOST);

    tokio::time::sleep(retry_after).await;
    assert_eq!(stand.admit(socket()).await, IN);
}

async fn a_release_frees_a_place_at_once(stand: Stand) {
    let holders = stand.fill().await;
    stand.leases.release(&ada(), holders[2]).await;
    stand.leases.release(&ada(), holders[2]).await;
    assert_eq!(stand.held().await, MOST - 1);
    assert_eq!(stand.admit(socket()).await, IN);
    assert!(matches!(stand.admit(socket()).await, Admission::Full { .. }));
}

async fn a_place_that_nobody_renews_is_free_after_its_time(stand: Stand) {
    stand.fill().await;
    stand.pass(1.0).await;
    assert_eq!(stand.held().await, 0);
    stand.fill().await;
}

async fn a_renewed_place_is_kept(stand: Stand) {
    let holders = stand.fill().await;
    for _ in 0..4 {
        stand.pass(0.7).await;
        assert!(stand.renew(&holders[..2]).await.is_empty());
    }
    assert_eq!(stand.held().await, 2);
}

async fn a_place_that_ran_out_comes_back_by_a_renewal(stand: Stand) {
    let slept = stand.fill().await;
    stand.pass(1.0).await;
    stand.fill().await;
    assert!(stand.renew(&slept).await.is_empty(), "nobody is thrown out");
    assert_eq!(stand.held().await, 2 * MOST);
    assert!(matches!(stand.admit(socket()).await, Admission::Full { .. }));
}

async fn the_oldest_is_replaced_and_told(stand: Stand) {
    let holders = stand.fill().await;
    let newest = socket();
    let admission = stand.admit_for_the_oldest(newest).await;
    assert_eq!(admission, Admission::Granted { replaced: Some(holders[0]) });
    assert_eq!(stand.held().await, MOST);

    assert_eq!(stand.renew(&[holders[0], holders[1], newest]).await, [holders[0]]);
    assert_eq!(stand.renew(&[holders[0]]).await, [holders[0]], "told again, until it is gone");
    stand.leases.release(&ada(), holders[0]).await;
    assert_eq!(stand.held().await, MOST, "it had no place to give back");

    stand.leases.release(&ada(), holders[3]).await;
    assert_eq!(stand.admit_for_the_oldest(socket()).await, IN, "nobody gives way while there is room");
}

async fn asking_twice_takes_one_place(stand: Stand) {
    let holder = socket();
    assert_eq!(stand.admit(holder).await, IN);
    assert_eq!(stand.admit(holder).await, IN);
    assert_eq!(stand.held().await, 1);
}

async fn however_many_come_at_once_no_more_than_there_are_places_get_in(stand: Stand) {
    let coming = (0..40).map(|_| stand.admit(socket()));
    let admitted = join_all(coming).await.into_iter().filter(|admission| *admission == IN).count();
    assert_eq!((admitted, stand.held().await), (MOST, MOST));
}

async fn principals_do_not_mix(stand: Stand) {
    stand.fill().await;
    let bob = principal("192.0.2.2");
    assert_eq!(stand.leases.admit(&bob, socket(), MOST, stand.ttl, false).await, IN);
    assert_eq!(stand.leases.held(&bob).await, 1);
}

async fn who_has_the_places_is_known(stand: Stand) {
    assert!(stand.leases.holders(&ada(), 9).await.is_empty());
    let holders = stand.fill().await;
    assert_eq!(stand.leases.holders(&ada(), 9).await, holders);
    assert_eq!(stand.leases.holders(&ada(), 2).await, holders[..2]);
    stand.leases.release(&ada(), holders[0]).await;
    assert_eq!(stand.leases.holders(&ada(), 9).await, holders[1..]);
    stand.pass(1.0).await;
    assert!(stand.leases.holders(&ada(), 9).await.is_empty());
}

async fn who_is_dismissed_is_known_to_everybody_for_a_while(stand: Stand) {
    let [ada, bob] = [ada(), principal("192.0.2.2")].map(|principal| PrincipalHash::of(&principal));
    assert!(stand.leases.dismissed().await.is_empty());
    let before = Timestamp::now().as_millis();
    for address in ["192.0.2.1", "192.0.2.2", "192.0.2.1"] {
        stand.leases.dismiss(&principal(address)).await.unwrap();
    }
    for _ in 0..2 {
        let told = stand.leases.dismissed().await;
        assert_eq!(told.iter().map(|(who, _)| *who).collect::<Vec<_>>(), [ada, bob, ada]);
        assert!(told.iter().all(|(_, at)| at.as_millis().abs_diff(before) < 10_000), "{told:?} at {before}");
    }
}
