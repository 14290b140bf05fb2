//! Who is calling.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::{CallerName, Invalid};

/// A caller's network address as limits and places see it: IPv6 callers are one per /64,
/// because that is what a provider hands to one subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(IpAddr);

impl ClientAddress {
    /// The address as text cut to /24 (IPv4) or /48 (IPv6): the only form that logs show.
    pub fn cut(&self) -> String {
        match self.0 {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                format!("{a}.{b}.{c}.0/24")
            }
            IpAddr::V6(v6) => format!("{}/48", masked(v6, 48)),
        }
    }
}

impl From<IpAddr> for ClientAddress {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(masked(v6, 64)),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

fn masked(address: Ipv6Addr, bits: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - bits)))
}

/// Who a turn, a conversation, a limit and a connection's place belong to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// Nobody said who they are: the client's address stands in.
    Address(ClientAddress),
    /// The name of the API key that was shown.
    Key(CallerName),
    /// The `sub` of the token that was shown; tokens of one issuer only are taken, so it is unique.
    Subject(CallerName),
}

impl Principal {
    /// What log lines call this caller.
    pub fn log_name(&self) -> String {
        match self {
            Self::Address(address) => address.cut(),
            Self::Key(name) | Self::Subject(name) => name.to_string(),
        }
    }

    /// Whether somebody said who they are: only then can anything belong to them (an address is shared and changes).
    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Address(_))
    }
}

/// The form used in keys: unique over all kinds of principal.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "address:{address}"),
            Self::Key(name) => write!(f, "key:{name}"),
            Self::Subject(name) => write!(f, "subject:{name}"),
        }
    }
}

impl FromStr for Principal {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = Invalid("must be the key of a principal");
        let (kind, name) = text.split_once(':').ok_or(invalid)?;
        match kind {
            "address" => {
                let address =
                    name.strip_suffix("/64").unwrap_or(name).parse::<IpAddr>().map_err(|_| invalid)?;
                Ok(Self::Address(address.into()))
            }
            "key" => name.parse().map(Self::Key),
            "subject" => name.parse().map(Self::Subject),
            _ => Err(invalid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_callers_of_one_subscriber_are_one_client() {
        let one = ClientAddress::from("2001:db8:1:2::1".parse::<IpAddr>().unwrap());
        let two = ClientAddress::from("2001:db8:1:2:ffff::9".parse::<IpAddr>().unwrap());
        assert_eq!(one, two);
        assert_eq!(one.to_string(), "2001:db8:1:2::/64");
        assert_eq!(one.cut(), "2001:db8:1::/48");
    }

    #[test]
    fn a_mapped_ipv4_address_is_that_ipv4_address() {
        let mapped = ClientAddress::from("::ffff:192.0.2.7".parse::<IpAddr>().unwrap());
        assert_eq!(mapped.to_string(), "192.0.2.7");
        assert_eq!(mapped.cut(), "192.0.2.0/24");
    }

    #[test]
    fn a_principal_survives_its_key() {
        for address in ["192.0.2.7", "2001:db8:1:2::1"] {
            let principal = Principal::Address(address.parse::<IpAddr>().unwrap().into());
            assert_eq!(principal.to_string().parse::<Principal>().unwrap(), principal);
        }
        for name in ["a", "key:a", "ada@example.org", "auth0|5f:x/64"] {
            for principal in
                [Principal::Key(name.parse().unwrap()), Principal::Subject(name.parse().unwrap())]
            {
                assert_eq!(principal.to_string().parse::<Principal>().unwrap(), principal);
            }
        }
    }

    #[test]
    fn a_name_fits_on_one_line() {
        for name in ["", "two\nlines", "bell\u{7}", "\u{2028}", "\u{202e}backwards", &"x".repeat(256)] {
            assert!(name.parse::<CallerName>().is_err(), "{name:?}");
        }
        assert!("Müller, 1".parse::<CallerName>().is_ok());
    }
}
