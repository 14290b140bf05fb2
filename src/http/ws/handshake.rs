//! The opening handshake (RFC 6455 §4.2), without which there is nothing to upgrade.

use poem::http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use poem::http::{Method, StatusCode};
use poem::{Request, Response};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::refusal::Refusal;

/// The subprotocol this server speaks.
pub(super) const PROTOCOL: &str = "polylogue.v1";

/// What begins an offered subprotocol that is a credential.
const BEARER: &str = "polylogue.bearer.";

/// A request that can be upgraded.
///
/// Not poem's extractor: it spawns the socket where the stop cannot wait for it, and turns errors into text, so that
/// a message that is too big could not be told from one that is not UTF-8.
pub(super) struct Handshake {
    accept: String,
    names_protocol: bool,
}

impl Handshake {
    pub fn of(request: &Request) -> Result<Self, Refusal> {
        let headers = request.headers();
        let upgrades = request.method() == Method::GET
            && lists(headers, &UPGRADE).any(|token| token.eq_ignore_ascii_case("websocket"))
            && lists(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"))
            && headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
        if !upgrades {
            return Err(Refusal::not_an_upgrade());
        }
        let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
        let key = key.filter(|key| is_key(key)).ok_or_else(Refusal::bad_key)?;
        Ok(Self { accept: derive_accept_key(key), names_protocol: names_protocol(headers)? })
    }

    /// The 101.
    pub fn accept(self) -> Response {
        let response = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_ACCEPT, self.accept);
        if self.names_protocol { response.header(SEC_WEBSOCKET_PROTOCOL, PROTOCOL) } else { response }
            .finish()
    }
}

/// Whether the client offered our protocol; offering nothing is taken as v1, offering only others is refused.
fn names_protocol(headers: &HeaderMap) -> Result<bool, Refusal> {
    let offered = lists(headers, &SEC_WEBSOCKET_PROTOCOL).filter(|offered| !offered.starts_with(BEARER));
    let mut offered = offered.peekable();
    if offered.peek().is_none() {
        return Ok(false);
    }
    if offered.any(|protocol| protocol == PROTOCOL) {
        Ok(true)
    } else {
        Err(Refusal::unsupported_subprotocol())
    }
}

/// 16 bytes in base64: 22 characters and two signs of padding.
fn is_key(key: &[u8]) -> bool {
    let alphabet = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key.iter().take(22).all(alphabet)
}

/// The elements of a comma-separated header, over all its lines.
fn lists<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|element| !element.is_empty())
}

/// The credential among the offered subprotocols: `polylogue.bearer.<key or token>`, for browsers, which can set no other
/// header. It is never answered with, so it is not echoed. Keys and tokens have only characters that a subprotocol may have.
pub fn token_in_protocols(headers: &HeaderMap) -> Option<&str> {
    lists(headers, &SEC_WEBSOCKET_PROTOCOL).find_map(|offered| offered.strip_prefix(BEARER))
}
