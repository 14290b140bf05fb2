//! Which page a request comes from, as far as a browser says (RFC 6454, Fetch). The one decision that cross-origin reads,
//! requests that change something, and upgrades share.

use http::HeaderMap;
use http::header::{HOST, HeaderName, ORIGIN};
use poem::Request;

use crate::config::{AllowedOrigin, Config, without_own_port};
use crate::words::{ErrorCode, Failure};

/// What a browser says of the relation between the page and us; a page cannot write it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// No page that a browser would tell us of: programs name none.
    Nobody,
    /// A page of our own, such as `/docs`.
    Ours,
    /// A page of an origin that the operator allows.
    Allowed,
    /// A page of any other origin.
    Foreign,
}

impl Page {
    /// The page behind this request.
    pub fn of(request: &Request, config: &Config) -> Self {
        let headers = request.headers();
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else { return Self::Nobody };
        match origin.to_str().ok().filter(|_| origins.next().is_none()) {
            Some(origin) if is_allowed(origin, config) => Self::Allowed,
            Some(origin) if is_ours(origin, request, config) => Self::Ours,
            Some(_) | None => Self::Foreign,
        }
    }

    /// Why a page of another origin gets nothing.
    pub fn refused() -> Failure {
        Failure::new(ErrorCode::OriginNotAllowed, "Pages of this origin may not do this.")
    }
}

fn is_allowed(origin: &str, config: &Config) -> bool {
    config.cors.allowed_origins.iter().any(|allowed| match allowed {
        AllowedOrigin::Any => true,
        AllowedOrigin::Exact(allowed) => allowed == origin,
    })
}

/// Whether the page was served by us: the browser says so, or the page's host is the one that was asked, or it is that of
/// `server.public_url`. The scheme is not compared with the host that was asked: TLS may have ended before us.
fn is_ours(origin: &str, request: &Request, config: &Config) -> bool {
    let Some((scheme, authority)) = origin.split_once("://").filter(|(_, it)| !it.is_empty()) else {
        return false;
    };
    let authority = without_own_port(scheme, authority);
    let says_so = request.header(SEC_FETCH_SITE) == Some("same-origin");
    let asked = asked_host(request.headers(), request.uri());
    let is_asked = asked.is_some_and(|host| without_own_port(scheme, host).eq_ignore_ascii_case(authority));
    let public = config.server.public_url.as_ref().and_then(|url| {
        let (scheme, rest) = url.as_str().split_once("://")?;
        Some((scheme, without_own_port(scheme, rest.split('/').next()?)))
    });
    let is_public = public.is_some_and(|(public_scheme, host)| {
        public_scheme.eq_ignore_ascii_case(scheme) && host.eq_ignore_ascii_case(authority)
    });
    says_so || is_asked || is_public
}

/// The host and port that were asked: of the request's target in HTTP/2, else of `Host`.
fn asked_host<'a>(headers: &'a HeaderMap, uri: &'a http::Uri) -> Option<&'a str> {
    let target = uri.authority().map(http::uri::Authority::as_str);
    target.or_else(|| headers.get(HOST)?.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(headers: &[(&str, &str)], change: impl FnOnce(&mut Config)) -> Page {
        let mut config = Config::default();
        change(&mut config);
        let request = headers.iter().fold(Request::builder(), |it, (name, value)| it.header(*name, *value));
        Page::of(&request.finish(), &config)
    }

    fn allow(origins: &[&str]) -> impl FnOnce(&mut Config) {
        let origins: Vec<_> =
            origins.iter().map(|it| AllowedOrigin::try_from((*it).to_owned()).unwrap()).collect();
        |config| config.cors.allowed_origins = origins
    }

    #[test]
    fn a_program_is_nobody_and_every_page_is_foreign_until_it_is_allowed() {
        assert_eq!(page(&[("host", "a.example")], |_| ()), Page::Nobody);
        let foreign = [("host", "a.example"), ("origin", "https://b.example")];
        assert_eq!(page(&foreign, |_| ()), Page::Foreign);
        assert_eq!(page(&foreign, allow(&["https://b.example"])), Page::Allowed);
        assert_eq!(page(&foreign, allow(&["*"])), Page::Allowed);
        for near in
            ["http://b.example", "https://b.example:8443", "https://sub.b.example", "https://b.exampl"]
        {
            assert_eq!(page(&foreign, allow(&[near])), Page::Foreign, "{near}");
        }
    }

    #[test]
    fn a_page_of_the_host_that_was_asked_is_ours() {
        let ours = |origin, host| page(&[("origin", origin), ("host", host)], |_| ()) == Page::Ours;
        assert!(ours("http://localhost:8080", "localhost:8080"));
        assert!(ours("https://a.example", "a.example:443"));
        assert!(ours("https://a.example", "A.example"));
        for (origin, host) in [
            ("http://localhost:3000", "localhost:8080"),
            ("http://a.example.evil.example", "a.example"),
            ("null", "null"),
            ("", ""),
            ("file://", ""),
        ] {
            assert!(!ours(origin, host), "{origin} {host}");
        }
    }

    #[test]
    fn behind_a_proxy_the_public_address_and_the_browser_say_what_is_ours() {
        let public = |config: &mut Config| {
            config.server.public_url = Some("https://a.example/chat".to_owned().try_into().unwrap());
        };
        let inner = ("host", "10.0.0.7:8080");
        assert_eq!(page(&[("origin", "https://a.example"), inner], public), Page::Ours);
        assert_eq!(page(&[("origin", "http://a.example"), inner], public), Page::Foreign);
        let same = ("sec-fetch-site", "same-origin");
        assert_eq!(page(&[("origin", "https://x.example"), inner, same], |_| ()), Page::Ours);
        let cross = ("sec-fetch-site", "same-site");
        assert_eq!(page(&[("origin", "https://x.example"), inner, cross], |_| ()), Page::Foreign);
    }

    #[test]
    fn two_origins_are_none() {
        let two = [("origin", "https://b.example"), ("origin", "https://b.example"), ("host", "b.example")];
        assert_eq!(page(&two, allow(&["https://b.example"])), Page::Foreign);
    }

    /// The first line of the input is `Origin`, the second `Host`, the third what the operator allows.
    #[test]
    fn fuzz_origins() {
        crate::fuzz::run("origins", |bytes| {
            let mut lines = bytes.split(|byte| *byte == b'\n');
            let mut line = || http::HeaderValue::from_bytes(lines.next().unwrap_or_default()).ok();
            let (Some(origin), Some(host), Some(allowed)) = (line(), line(), line()) else { return };
            let allowed = allowed.to_str().ok().and_then(|it| AllowedOrigin::try_from(it.to_owned()).ok());
            if let Some(allowed) = &allowed {
                let printed = String::from(allowed.clone());
                assert_eq!(AllowedOrigin::try_from(printed).as_ref(), Ok(allowed));
            }
            let mut config = Config::default();
            config.cors.allowed_origins = allowed.clone().into_iter().collect();
            let request = Request::builder().header(ORIGIN, &origin).header(HOST, &host).finish();
            let is_listed = match &allowed {
                Some(AllowedOrigin::Any) => origin.to_str().is_ok(),
                Some(AllowedOrigin::Exact(it)) => origin.as_bytes() == it.as_bytes(),
                None => false,
            };
            assert_eq!(Page::of(&request, &config) == Page::Allowed, is_listed);
        });
    }
}
