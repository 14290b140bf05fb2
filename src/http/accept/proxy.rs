//! The PROXY protocol, version 2, as a balancer sends it before everything else
//! (HAProxy's `proxy-protocol.txt`, §2.2). Version 1 is not taken.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Addresses take 36 bytes at most (216 for Unix sockets); the rest are extensions that we skip.
const MAX_LENGTH: usize = 2048;

/// Reads the header and returns whom it names; `None` where it speaks of the balancer itself (its own health checks) or of
/// something without an address. Reads not a byte more than the header.
pub(super) async fn read_source<IO: AsyncRead + Unpin>(io: &mut IO) -> io::Result<Option<SocketAddr>> {
    let mut fixed = [0; 16];
    io.read_exact(&mut fixed).await?;
    let (head, length) = parse_fixed(&fixed).ok_or(io::ErrorKind::InvalidData)?;
    let mut addresses = vec![0; length];
    io.read_exact(&mut addresses).await?;
    Ok(head.source(&addresses).ok_or(io::ErrorKind::InvalidData)?)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Head {
    Local,
    Other,
    TcpOverV4,
    TcpOverV6,
}

fn parse_fixed(fixed: &[u8; 16]) -> Option<(Head, usize)> {
    let (signature, rest) = fixed.split_first_chunk::<12>()?;
    let &[command, family, high, low] = rest else { return None };
    let head = match (command, family) {
        (0x20, _) => Head::Local,
        (0x21, 0x11) => Head::TcpOverV4,
        (0x21, 0x21) => Head::TcpOverV6,
        (0x21, 0x00 | 0x31) => Head::Other,
        _ => return None,
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    (*signature == SIGNATURE && length <= MAX_LENGTH).then_some((head, length))
}

impl Head {
    /// The source in the address block; the outer `None` is a block too short for its family.
    fn source(self, block: &[u8]) -> Option<Option<SocketAddr>> {
        match self {
            Self::Local | Self::Other => Some(None),
            Self::TcpOverV4 => {
                let block = block.first_chunk::<12>()?;
                let [a, b, c, d, .., high, low, _, _] = *block;
                Some(Some((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into()))
            }
            Self::TcpOverV6 => {
                let block = block.first_chunk::<36>()?;
                let (address, _) = block.split_first_chunk::<16>()?;
                let [.., high, low, _, _] = *block;
                Some(Some((Ipv6Addr::from(*address), u16::from_be_bytes([high, low])).into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn header(command: u8, source: SocketAddr, extensions: &[u8]) -> Vec<u8> {
        let (family, mut block) = match source.ip() {
            IpAddr::V4(ip) => (0x11, [ip.octets(), [192, 0, 2, 1]].concat()),
            IpAddr::V6(ip) => (0x21, [ip.octets(), [0; 16]].concat()),
        };
        block.extend(source.port().to_be_bytes());
        block.extend(443_u16.to_be_bytes());
        block.extend(extensions);
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, &block].concat()
    }

    async fn read(bytes: &[u8]) -> (io::Result<Option<SocketAddr>>, usize) {
        let mut rest = bytes;
        let source = read_source(&mut rest).await;
        (source, rest.len())
    }

    fn now<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    proptest! {
        #[test]
        fn whoever_the_header_names_is_the_source(
            ip: IpAddr, port: u16, extensions in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = [header(0x21, (ip, port).into(), &extensions), b"GET /".to_vec()].concat();
            let (source, left) = now(read(&bytes));
            prop_assert_eq!(source.unwrap(), Some(SocketAddr::from((ip, port))));
            prop_assert_eq!(left, 5, "the request is left untouched");
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = now(read(&bytes));
            let _ = now(read(&[&SIGNATURE[..], &bytes].concat()));
        }

        #[test]
        fn a_cut_header_is_refused(ip: IpAddr, keep in 0_usize..28) {
            let bytes = header(0x21, (ip, 1).into(), &[]);
            prop_assert!(now(read(&bytes[..keep])).0.is_err());
        }
    }

    #[test]
    fn a_health_check_of_the_balancer_itself_has_no_source() {
        let bytes = header(0x20, ([203, 0, 113, 9], 7).into(), &[]);
        assert_eq!(now(read(&bytes)).0.unwrap(), None);
    }

    #[test]
    fn version_one_and_plain_requests_are_refused() {
        assert!(now(read(b"PROXY TCP4 203.0.113.9 192.0.2.1 7 443\r\nGET / HTTP/1.1\r\n")).0.is_err());
        assert!(now(read(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")).0.is_err());
    }

    #[test]
    fn fuzz_proxy_header() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        crate::fuzz::run("proxy_header", |bytes| {
            let (source, rest) = runtime.block_on(read(bytes));
            assert!(bytes.len() - rest <= 16 + MAX_LENGTH);
            if let Ok(Some(source)) = source {
                // Printed again, it is read as the same.
                let (again, _) = runtime.block_on(read(&header(0x21, source, &[])));
                assert_eq!(again.unwrap(), Some(source));
            }
        });
    }
}
