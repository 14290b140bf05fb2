//! Where connections arrive.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait in the kernel to be accepted; no more than `net.core.somaxconn`. Rust's own 128 overflow when a replica
/// dies and its clients all come here, and a connection that overflows tries again after a second, then after three.
const BACKLOG: u32 = 4096;

/// Listens on `address`; also where a former process has left connections that still close.
pub fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_crowd_that_comes_at_once_is_let_in_before_anybody_is_accepted() {
        let listener = listener(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let many = most.trim().parse::<usize>().unwrap().min(400);
        let mut crowd = Vec::new();
        for number in 0..many {
            // The kernel answers at once, or a second later if there was no place.
            let connected = timeout(Duration::from_millis(900), TcpStream::connect(address)).await;
            crowd.push(connected.unwrap_or_else(|_| panic!("{number} had to try again")).unwrap());
        }
    }
}
