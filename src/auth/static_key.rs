//! The one key of `auth.jwt.key_file`.

use std::path::Path;

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};

use super::AuthError;
use super::jwks::KeySet;
use super::rules::VerificationKey;
use crate::config;

/// A shared secret below this can be guessed (RFC 7518 §3.2: at least as long as the hash).
const SHORTEST_SECRET: usize = 32;

/// Reads the key: a PEM public key, or with HS256, HS384 and HS512 the secret itself.
pub(super) fn load(file: &Path, settings: &config::Jwt) -> Result<KeySet, AuthError> {
    let fault = |reason: String| AuthError::StaticKey { file: file.display().to_string(), reason };
    let content = std::fs::read(file).map_err(|error| fault(error.kind().to_string()))?;
    let key = understood(&content, &settings.algorithms).map_err(|reason| fault(reason.to_owned()))?;
    let fits = |algorithm: &Algorithm| family(*algorithm) == Some(key.family());
    let algorithms = settings.algorithms.iter().copied().filter(fits).collect();
    Ok(KeySet::of_one(VerificationKey { id: None, key, algorithms }))
}

fn understood(content: &[u8], algorithms: &[Algorithm]) -> Result<DecodingKey, &'static str> {
    if algorithms.iter().all(|algorithm| family(*algorithm) == Some(AlgorithmFamily::Hmac)) {
        let secret = content.trim_ascii();
        let long = secret.len() >= SHORTEST_SECRET && !secret.starts_with(b"-----BEGIN");
        return if long {
            Ok(DecodingKey::from_secret(secret))
        } else {
            Err("must be a secret of at least 32 bytes")
        };
    }
    let readers = [DecodingKey::from_rsa_pem, DecodingKey::from_ec_pem, DecodingKey::from_ed_pem];
    let key = readers.into_iter().find_map(|read| read(content).ok());
    let key = key.ok_or("must be a public key (RSA, P-256, P-384 or Ed25519) in PEM")?;
    let fits = algorithms.iter().any(|algorithm| family(*algorithm) == Some(key.family()));
    fits.then_some(key).ok_or("is a key that none of auth.jwt.algorithms can use")
}

pub(super) fn family(algorithm: Algorithm) -> Option<AlgorithmFamily> {
    let families = [AlgorithmFamily::Hmac, AlgorithmFamily::Rsa, AlgorithmFamily::Ec, AlgorithmFamily::Ed];
    families.into_iter().find(|family| family.algorithms().contains(&algorithm))
}
