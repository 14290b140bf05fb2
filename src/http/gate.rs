//! Who may see and change more than probes and metrics on the management port.

use std::fmt;

use poem::Request;
use poem::http::header;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::problem::Problem;
use crate::words::{ErrorCode, Failure};

/// Lets in who shows `server.management_token`; without one, who asks from this machine (as `kubectl port-forward` does).
pub struct Gate(Option<[u8; 32]>);

impl Gate {
    /// Opens to this token.
    pub fn new(token: Option<&SecretString>) -> Self {
        Self(token.map(|token| hash(token.expose_secret())))
    }

    /// Lets the request in, or says why not.
    pub(super) fn pass(&self, request: &Request) -> Result<(), Problem> {
        match &self.0 {
            Some(token) => {
                let shown =
                    request.header(header::AUTHORIZATION).and_then(|text| text.strip_prefix("Bearer "));
                // Hashes have one length, so the comparison tells nothing of the token's.
                let right = shown.is_some_and(|shown| bool::from(hash(shown.trim()).ct_eq(token)));
                right.then_some(()).ok_or_else(|| {
                    Failure::new(ErrorCode::Unauthenticated, "This needs the management token.").into()
                })
            }
            None => {
                let peer = request.remote_addr().as_socket_addr().map(|address| address.ip().to_canonical());
                peer.is_some_and(|peer| peer.is_loopback()).then_some(()).ok_or_else(|| {
                    let detail = "Without server.management_token this is shown on the machine itself only.";
                    Failure::new(ErrorCode::Forbidden, detail).into()
                })
            }
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Gate(token)" } else { "Gate(this machine)" })
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
