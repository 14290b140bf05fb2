//! The two headers in which proxies say who was before them, read from the right.
//!
//! Both readers work backwards on bytes and stop believing at the first thing they cannot read, so nothing to the left,
//! however broken, changes what stands to the right of it.

use std::net::{IpAddr, SocketAddr};

/// The addresses of one `X-Forwarded-For` line, from the right; `None` for one that cannot be read. A port is allowed.
pub(super) fn listed(line: &[u8]) -> impl Iterator<Item = Option<IpAddr>> {
    line.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii).map(address)
}

/// The `for` addresses of one `Forwarded` line (RFC 7239), from the right; `None` for an element that cannot be read,
/// has no `for`, or names somebody who does not want to be known.
pub(super) fn elements(line: &[u8]) -> impl Iterator<Item = Option<IpAddr>> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let (before, element) = split_last(rest?, b',');
        rest = before;
        Some(node(element))
    })
}

/// Splits at the last `separator` outside quotes. A quote without a partner makes everything before it part of the piece,
/// which then cannot be read.
fn split_last(line: &[u8], separator: u8) -> (Option<&[u8]>, &[u8]) {
    let mut quoted = false;
    for (place, byte) in line.iter().enumerate().rev() {
        if *byte == b'"' && !is_escaped(&line[..place]) {
            quoted = !quoted;
        } else if *byte == separator && !quoted {
            return (Some(&line[..place]), &line[place + 1..]);
        }
    }
    (None, line)
}

/// Whether what follows `before` has a backslash of its own in front of it.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The address of an element's one `for`.
fn node(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    let mut rest = Some(element);
    while let Some(pairs) = rest {
        let (before, pair) = split_last(pairs, b';');
        rest = before;
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"for") && found.replace(address(&unquoted(value)?)?).is_some() {
            return None;
        }
    }
    found
}

/// A value without its quotes; `None` if they do not match.
fn unquoted(value: &[u8]) -> Option<Vec<u8>> {
    let Some(value) = value.strip_prefix(b"\"") else {
        return (!value.contains(&b'"')).then(|| value.to_vec());
    };
    let mut plain = Vec::with_capacity(value.len());
    let mut bytes = value.iter();
    loop {
        match *bytes.next()? {
            b'"' => return bytes.as_slice().is_empty().then_some(plain),
            b'\\' => plain.push(*bytes.next()?),
            byte => plain.push(byte),
        }
    }
}

/// An address, with or without brackets and port; what is no address (`unknown`, `_hidden`) is `None`.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let address = text.parse().ok().or_else(bracketed);
    let with_port = || text.parse().ok().map(|socket: SocketAddr| socket.ip());
    address.or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Vec<Option<String>> {
        elements(line.as_bytes()).map(|found| found.map(|address| address.to_string())).collect()
    }

    fn some(address: &str) -> Option<String> {
        Some(address.to_owned())
    }

    #[test]
    fn a_forwarded_line_is_read_from_the_right() {
        let line = r#"for=192.0.2.60;proto=http;by=203.0.113.43, For="[2001:db8:cafe::17]:4711", for="192.0.2.1:80""#;
        assert_eq!(read(line), [some("192.0.2.1"), some("2001:db8:cafe::17"), some("192.0.2.60")]);
    }

    #[test]
    fn quotes_hide_separators_and_backslashes_hide_quotes() {
        let line = r#"for=192.0.2.1;by="a,b;c\"d,e", by="\\";for=192.0.2.2"#;
        assert_eq!(read(line), [some("192.0.2.2"), some("192.0.2.1")]);
    }

    #[test]
    fn nobody_in_particular_is_no_address() {
        for element in [
            "for=unknown",
            r#"for="_hidden""#,
            "proto=https",
            "for=1.2.3.4;for=1.2.3.5",
            "for",
            "",
            r#"for="1.2.3.4"#,
        ] {
            assert_eq!(read(element), [None], "{element}");
        }
    }

    #[test]
    fn an_open_quote_at_the_left_hides_nothing_at_the_right() {
        assert_eq!(read(r#"for="1.2.3.4, for=192.0.2.9"#)[0], some("192.0.2.9"));
    }

    #[test]
    fn a_listed_address_may_have_brackets_and_a_port() {
        let line = b"::ffff:192.0.2.7, [2001:db8::1]:443 ,[2001:db8::2],192.0.2.1:8080,, 2001:db8::3";
        let found: Vec<_> = listed(line).map(|found| found.map(|address| address.to_string())).collect();
        let expected = [
            some("2001:db8::3"),
            None,
            some("192.0.2.1"),
            some("2001:db8::2"),
            some("2001:db8::1"),
            some("192.0.2.7"),
        ];
        assert_eq!(found, expected);
    }
}
