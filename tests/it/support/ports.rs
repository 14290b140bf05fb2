//! Ports that stay free between two processes of a test.

use std::net::TcpListener;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Below the ports that the kernel hands out by itself: a server that is down for a while finds its own again.
const FIRST: u16 = 12_000;
const COUNT: u16 = 10_000;

/// A node of a Redis Cluster listens here too, so far above its port.
const BUS: u16 = 10_000;

/// Where to look next. Several test programs may run at once, so each begins somewhere else.
static NEXT: LazyLock<AtomicUsize> =
    LazyLock::new(|| AtomicUsize::new(rand::random_range(0..usize::from(COUNT))));

/// A port of loopback on which nobody listens, nor on its bus port; no test of this program is given it again soon.
pub fn free() -> u16 {
    let mut candidates = (0..COUNT).map(|_| {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % usize::from(COUNT);
        FIRST + u16::try_from(step).unwrap()
    });
    candidates.find(|port| is_free(*port) && is_free(port + BUS)).expect("no port is free")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
