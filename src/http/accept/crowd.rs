//! How many connections one address holds.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::client_address::Networks;
use crate::words::ClientAddress;

/// Counts connections per address, before anybody says who they are. Every client of a trusted proxy comes from the proxy's
/// address, so those are not counted. Holds an entry only for addresses that hold a connection.
#[derive(Debug)]
pub(super) struct Crowd {
    most: Option<NonZeroUsize>,
    exempt: Networks,
    held: Mutex<HashMap<ClientAddress, usize>>,
}

impl Crowd {
    pub(super) fn new(most: Option<NonZeroUsize>, exempt: Networks) -> Arc<Self> {
        Arc::new(Self { most, exempt, held: Mutex::default() })
    }

    /// Counts one more connection of this address, unless it holds as many as it may.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Member> {
        let most = match self.most {
            Some(most) if !self.exempt.contains(address) => most.get(),
            Some(_) | None => return Some(Member(None)),
        };
        let address = ClientAddress::from(address);
        let mut held = self.held();
        let count = held.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(held);
        Some(Member(Some((Arc::clone(self), address))))
    }

    fn left(&self, address: ClientAddress) {
        let mut held = self.held();
        let Some(count) = held.get_mut(&address) else { return };
        *count -= 1;
        if *count == 0 {
            held.remove(&address);
            // An attack leaves no memory behind.
            if held.capacity() > 4 * held.len() + 64 {
                held.shrink_to_fit();
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<ClientAddress, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection of an address, for as long as this lives.
#[derive(Debug)]
pub(super) struct Member(Option<(Arc<Crowd>, ClientAddress)>);

impl Drop for Member {
    fn drop(&mut self) {
        if let Some((crowd, address)) = self.0.take() {
            crowd.left(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(most: usize) -> Arc<Crowd> {
        Crowd::new(NonZeroUsize::new(most), Networks::new(&["10.0.0.0/8".parse().unwrap()]))
    }

    fn admit(crowd: &Arc<Crowd>, address: &str) -> Option<Member> {
        crowd.admit(address.parse().unwrap())
    }

    #[test]
    fn an_address_holds_so_many_and_one_that_leaves_makes_room() {
        let crowd = crowd(2);
        let (one, _two) = (admit(&crowd, "192.0.2.7").unwrap(), admit(&crowd, "::ffff:192.0.2.7").unwrap());
        assert!(admit(&crowd, "192.0.2.7").is_none());
        let _other = admit(&crowd, "192.0.2.8").unwrap();
        drop(one);
        let _again = admit(&crowd, "192.0.2.7").unwrap();
    }

    #[test]
    fn an_ipv6_client_is_its_whole_network() {
        let crowd = crowd(1);
        let _one = admit(&crowd, "2001:db8::1").unwrap();
        assert!(admit(&crowd, "2001:db8::ffff:1").is_none());
        let _other = admit(&crowd, "2001:db8:0:1::1").unwrap();
    }

    #[test]
    fn trusted_proxies_hold_as_many_as_they_like_and_so_does_everybody_without_a_limit() {
        let (crowd, unlimited) = (crowd(1), crowd(0));
        let proxy: Vec<_> = (0..9).map(|_| admit(&crowd, "10.1.2.3")).collect();
        let anybody: Vec<_> = (0..9).map(|_| admit(&unlimited, "192.0.2.7")).collect();
        assert!(proxy.iter().chain(&anybody).all(Option::is_some));
    }

    #[test]
    fn nothing_is_remembered_of_who_has_left() {
        let crowd = crowd(1);
        let all: Vec<_> =
            (0..10_000_u32).map(|n| crowd.admit(IpAddr::V4((0x0b00_0000 + n).into()))).collect();
        assert_eq!(crowd.held().len(), 10_000);
        drop(all);
        assert_eq!(crowd.held().len(), 0);
        assert!(crowd.held().capacity() < 1_000);
    }
}
