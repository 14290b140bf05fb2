//! Where requests go: a URL, taken apart once.

use std::str::FromStr;

use anyhow::{Context as _, bail};
use http::Uri;
use http::uri::Scheme;

/// A base URL: everything below it is reached by [`Target::uri`].
#[derive(Clone, Debug)]
pub struct Target {
    /// Whether it is TLS.
    pub is_secure: bool,
    /// What is connected to, without brackets.
    pub host: String,
    /// Its port, also where the URL has none.
    pub port: u16,
    /// The `Host` header.
    pub authority: String,
    path: String,
}

impl Target {
    /// The path of a request, below the path of the base URL.
    pub fn path(&self, below: &str) -> String {
        format!("{}{below}", self.path)
    }
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().with_context(|| format!("{text} is not a URL"))?;
        let is_secure = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => bail!("{text} must begin with http:// or https://"),
        };
        let authority = uri.authority().context("a URL needs a host")?;
        Ok(Self {
            is_secure,
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if is_secure { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_keeps_its_path_and_gets_the_port_of_its_scheme() {
        let target: Target = "https://chat.example/base/".parse().unwrap();
        assert_eq!((target.host.as_str(), target.port, target.is_secure), ("chat.example", 443, true));
        assert_eq!(target.path("/api/v1/chat"), "/base/api/v1/chat");

        let target: Target = "http://[::1]:8080".parse().unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 8080));
        assert!("chat.example".parse::<Target>().is_err());
    }
}
