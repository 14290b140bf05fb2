//! API keys: 256 random bits, with a prefix that people and secret scanners recognise and a checksum that tells a typing
//! error from a key nobody made.

use std::fmt;
use std::str::FromStr;

use rand::TryRngCore as _;
use rand::rngs::OsRng;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::words::Invalid;

/// What every key begins with.
pub(super) const PREFIX: &str = "plg_";
/// Hexadecimal digits of the random part, and of the checksum behind it (the first 32 bits of its SHA-256).
const RANDOM_DIGITS: usize = 64;
const CHECK_DIGITS: usize = 8;

/// A key as its owner has it. Shown once, when it is made; kept nowhere.
#[derive(Clone, Debug)]
pub struct ApiKey(SecretString);

impl ApiKey {
    /// Makes a key from the system's random numbers.
    ///
    /// Fails where the system has none.
    pub fn random() -> Result<Self, rand::rand_core::OsError> {
        let mut bytes = [0; RANDOM_DIGITS / 2];
        OsRng.try_fill_bytes(&mut bytes)?;
        let digits = hex(&bytes);
        Ok(Self(format!("{PREFIX}{digits}{}", check(&digits)).into()))
    }

    /// The text, to be shown to its owner.
    pub fn reveal(&self) -> &str {
        self.0.expose_secret()
    }

    /// What is kept of it.
    pub fn digest(&self) -> Digest {
        Digest(Sha256::digest(self.reveal().as_bytes()).into())
    }
}

impl FromStr for ApiKey {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = Invalid("must be an API key");
        let digits = text.strip_prefix(PREFIX).ok_or(invalid)?;
        let right = digits.len() == RANDOM_DIGITS + CHECK_DIGITS && digits.bytes().all(is_lower_hex);
        let (random, checksum) = right.then(|| digits.split_at(RANDOM_DIGITS)).ok_or(invalid)?;
        if check(random) == checksum { Ok(Self(text.into())) } else { Err(invalid) }
    }
}

fn check(digits: &str) -> String {
    hex(&Sha256::digest(digits.as_bytes())[..CHECK_DIGITS / 2])
}

/// The SHA-256 of a key. A key has 256 random bits, so a fast hash is right: there is nothing to guess.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = Invalid("must be a SHA-256 in 64 lower-case hexadecimal digits");
        if text.len() != 64 || !text.bytes().all(is_lower_hex) {
            return Err(invalid);
        }
        let mut bytes = [0; 32];
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).map_err(|_| invalid)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Not shown: it stands in a secret file.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_survives_its_text_and_no_two_are_alike() {
        let (one, two) = (ApiKey::random().unwrap(), ApiKey::random().unwrap());
        assert_eq!(one.reveal().parse::<ApiKey>().unwrap().digest(), one.digest());
        assert_ne!(one.reveal(), two.reveal());
        assert_eq!(one.reveal().len(), 4 + 64 + 8);
        assert_eq!(one.digest().to_string().parse::<Digest>().unwrap(), one.digest());
    }

    #[test]
    fn neither_a_key_nor_its_digest_is_shown_by_debug() {
        let key = ApiKey::random().unwrap();
        let shown = format!("{key:?} {:?}", key.digest());
        assert!(
            !shown.contains(&key.reveal()[4..20]) && !shown.contains(&key.digest().to_string()),
            "{shown}"
        );
    }

    proptest! {
        #[test]
        fn a_changed_digit_is_noticed(place in 4_usize..76, by in 1_u8..16) {
            let key = ApiKey::random().unwrap();
            let mut text: Vec<char> = key.reveal().chars().collect();
            let digit = text[place].to_digit(16).unwrap() as u8;
            text[place] = char::from_digit(u32::from((digit + by) % 16), 16).unwrap();
            prop_assert!(text.into_iter().collect::<String>().parse::<ApiKey>().is_err());
        }

        #[test]
        fn nothing_else_is_a_key(text in "(plg_)?\\PC{0,90}") {
            prop_assert!(text.parse::<ApiKey>().is_err());
            prop_assert!(text.parse::<Digest>().is_err());
        }
    }

    #[test]
    fn fuzz_api_keys() {
        crate::fuzz::run("api_keys", |bytes| {
            let Ok(text) = std::str::from_utf8(bytes) else { return };
            if let Ok(key) = text.parse::<ApiKey>() {
                assert_eq!(key.reveal(), text);
            }
        });
    }
}
