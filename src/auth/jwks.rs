//! The issuer's keys (RFC 7517), understood leniently: what cannot be used here is passed over, so that an issuer may add
//! kinds of keys; but never a key that would let somebody else sign.

use std::sync::Arc;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header};
use serde::Deserialize;
use serde_json::Value;

use super::rules::VerificationKey;

/// The most keys of a set that are looked at; issuers have two to ten.
const MAX_KEYS: usize = 64;
/// The longest key id that is taken; it stands in every ticket.
const MAX_KEY_ID: usize = 256;

/// The keys that sign tokens now.
#[derive(Clone, Default)]
pub(super) struct KeySet(Vec<VerificationKey>);

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

/// Why an answer holds no keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoKeys {
    #[error("it is not a JSON Web Key Set")]
    Syntax,
    #[error("it has no key that auth.jwt.algorithms can use")]
    Useless,
}

impl KeySet {
    /// Just this key, whatever a token calls it.
    pub fn of_one(key: VerificationKey) -> Self {
        Self(vec![key])
    }

    /// The keys of a JWKS document that may sign with some of `algorithms`.
    pub fn parse(document: &[u8], algorithms: &[Algorithm]) -> Result<Self, NoKeys> {
        let Document { keys } = serde_json::from_slice(document).map_err(|_| NoKeys::Syntax)?;
        let usable: Vec<_> =
            keys.into_iter().take(MAX_KEYS).filter_map(|key| usable(key, algorithms)).collect();
        if usable.is_empty() { Err(NoKeys::Useless) } else { Ok(Self(usable)) }
    }

    /// The key that a token's header names: by its id, or, where either has none, the only one for its algorithm.
    pub fn find(&self, header: &Header) -> Option<&VerificationKey> {
        if let Some(id) = &header.kid
            && let Some(named) = self.0.iter().find(|key| key.id.as_deref() == Some(id))
        {
            return Some(named);
        }
        let mut nameless = self.0.iter().filter(|key| {
            let fits = key.algorithms.contains(&header.alg);
            fits && (header.kid.is_none() || key.id.is_none())
        });
        nameless.next().filter(|_| nameless.next().is_none())
    }

    /// Whether the key with this id is still one of them.
    pub fn has(&self, id: Option<&str>) -> bool {
        self.0.iter().any(|key| key.id.as_deref() == id)
    }
}

fn usable(key: Value, allowed: &[Algorithm]) -> Option<VerificationKey> {
    let only: Option<Algorithm> = match key.get("alg") {
        Some(said) => Some(said.as_str()?.parse().ok()?),
        None => None,
    };
    let jwk: Jwk = serde_json::from_value(key).ok()?;
    let for_signatures = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
    let id = jwk.common.key_id.clone().filter(|id| id.len() <= MAX_KEY_ID).map(Arc::from);
    let can = signs_by(&jwk.algorithm);
    let may = |algorithm: &Algorithm| can.contains(algorithm) && only.is_none_or(|only| only == *algorithm);
    let algorithms: Vec<_> = allowed.iter().copied().filter(may).collect();
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    (for_signatures && !algorithms.is_empty()).then_some(VerificationKey { id, key, algorithms })
}

/// What a key of this kind can sign. Never a shared secret: one that everybody can fetch is none.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "another crate's open list: kinds that are not known sign nothing"
)]
fn signs_by(kind: &AlgorithmParameters) -> &'static [Algorithm] {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    match kind {
        AlgorithmParameters::RSA(_) => &[RS256, RS384, RS512, PS256, PS384, PS512],
        AlgorithmParameters::EllipticCurve(ec) => match ec.curve {
            EllipticCurve::P256 => &[ES256],
            EllipticCurve::P384 => &[ES384],
            _ => &[],
        },
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => &[EdDSA],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzz_key_sets() {
        let shared = jsonwebtoken::AlgorithmFamily::Hmac.algorithms();
        let all = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA, Algorithm::HS256];
        crate::fuzz::run("key_sets", |bytes| {
            let Ok(KeySet(keys)) = KeySet::parse(bytes, &all) else { return };
            assert!(keys.len() <= MAX_KEYS);
            assert!(keys.iter().flat_map(|key| &key.algorithms).all(|algorithm| !shared.contains(algorithm)));
        });
    }
}
