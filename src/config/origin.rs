//! Origins of web pages (RFC 6454), as an operator allows them.

use serde::{Deserialize, Serialize};

/// What an operator allows: one origin, or with `*` every one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AllowedOrigin {
    /// Pages of any origin.
    Any,
    /// Pages of this origin, written as browsers write it: lower case, and no port where it is the scheme's own.
    Exact(String),
}

const WRONG: &str = "must be * or an origin such as https://app.example.org, without a path";

impl TryFrom<String> for AllowedOrigin {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let (scheme, authority) = text.split_once("://").ok_or(WRONG)?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        let parsed: http::uri::Authority = authority.parse().map_err(|_| WRONG)?;
        let is_plain = !authority.contains('@') && !parsed.host().contains('*') && !authority.ends_with(':');
        if !is_scheme || !is_plain || parsed.host().is_empty() {
            return Err(WRONG);
        }
        let (scheme, authority) = (scheme.to_ascii_lowercase(), authority.to_ascii_lowercase());
        Ok(Self::Exact(format!("{scheme}://{}", without_own_port(&scheme, &authority))))
    }
}

impl From<AllowedOrigin> for String {
    fn from(origin: AllowedOrigin) -> Self {
        match origin {
            AllowedOrigin::Any => "*".to_owned(),
            AllowedOrigin::Exact(origin) => origin,
        }
    }
}

/// A host and port without the port that the scheme has anyhow.
pub fn without_own_port<'a>(scheme: &str, authority: &'a str) -> &'a str {
    let own = match scheme {
        "http" | "ws" => ":80",
        "https" | "wss" => ":443",
        _ => return authority,
    };
    authority.strip_suffix(own).unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        AllowedOrigin::try_from(text.to_owned()).ok().map(String::from)
    }

    #[test]
    fn an_origin_is_kept_as_browsers_write_it() {
        for (text, kept) in [
            ("*", "*"),
            ("https://App.Example.org:443", "https://app.example.org"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("HTTP://[::1]:80", "http://[::1]"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            assert_eq!(read(text).as_deref(), Some(kept), "{text}");
        }
    }

    #[test]
    fn what_no_browser_would_send_is_refused() {
        for text in [
            "",
            "null",
            "example.org",
            "https://",
            "https://a.example/",
            "https://a.example/x",
            "https://*.example.org",
            "https://me@a.example",
            "https://a.example?x",
            "https://a.example:",
            "://a.example",
            "https://a b",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
