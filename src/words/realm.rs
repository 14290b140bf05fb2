//! Whose something is.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::{ConversationId, Invalid, Principal};

/// Tells a principal apart from all others without saying who it is: 128 bits of a hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrincipalHash(u128);

impl PrincipalHash {
    /// The hash of this principal.
    pub fn of(principal: &Principal) -> Self {
        let digest = Sha256::digest(principal.to_string().as_bytes());
        Self(digest[..16].iter().fold(0, |number, byte| number << 8 | u128::from(*byte)))
    }
}

impl fmt::Display for PrincipalHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for PrincipalHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrincipalHash({self})")
    }
}

impl FromStr for PrincipalHash {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = Invalid("must be the hash of a principal");
        let hash = Self(u128::from_str_radix(text, 16).map_err(|_| invalid)?);
        // The one canonical spelling.
        (hash.to_string() == text).then_some(hash).ok_or(invalid)
    }
}

/// Whose conversations and turns are meant. What is in one realm does not exist in any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Realm {
    /// Of all who did not say who they are: an address is shared and changes, so it owns nothing, and knowing an id is
    /// all it takes.
    Common,
    /// Of one known principal.
    Own(PrincipalHash),
}

impl Realm {
    /// Where everything of this principal is.
    pub fn of(principal: &Principal) -> Self {
        if principal.is_known() { Self::Own(PrincipalHash::of(principal)) } else { Self::Common }
    }
}

/// Which conversation is meant: an id is one within its realm, so two principals may each have a `team-42` and never meet.
///
/// As text it is what stands in the names of Redis' keys: in the common realm the id alone, otherwise `principal's hash.id`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConversationKey {
    realm: Realm,
    id: ConversationId,
}

impl ConversationKey {
    /// What is called `id` in this realm.
    pub fn new(realm: Realm, id: ConversationId) -> Self {
        Self { realm, id }
    }

    /// What `principal` means by `id`.
    pub fn of(principal: &Principal, id: &ConversationId) -> Self {
        Self::new(Realm::of(principal), id.clone())
    }

    /// What it is called.
    pub fn id(&self) -> &ConversationId {
        &self.id
    }

    /// Whose it is.
    pub fn realm(&self) -> Realm {
        self.realm
    }

    /// The hash tag that keeps a conversation and its turns in one Redis slot (`state.md` §1).
    pub fn tag(&self) -> u16 {
        let digest = Sha256::digest(self.to_string().as_bytes());
        u16::from_be_bytes([digest[0], digest[1]])
    }
}

impl fmt::Display for ConversationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.realm {
            // No id has a dot, so what is somebody's is never called like what is nobody's.
            Realm::Own(principal) => write!(f, "{principal}.{}", self.id),
            Realm::Common => self.id.fmt(f),
        }
    }
}

impl fmt::Debug for ConversationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConversationKey({self})")
    }
}

impl FromStr for ConversationKey {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.split_once('.') {
            Some((principal, id)) => Ok(Self::new(Realm::Own(principal.parse()?), id.parse()?)),
            None => Ok(Self::new(Realm::Common, text.parse()?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(principal: &str) -> ConversationKey {
        ConversationKey::of(&principal.parse().unwrap(), &"team-42".parse().unwrap())
    }

    #[test]
    fn two_principals_never_mean_the_same_conversation() {
        let all = [key("key:ada"), key("subject:ada"), key("key:bob"), key("address:192.0.2.7")];
        for (at, one) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|other| other != one && other.tag() != one.tag()), "{one}");
            assert_eq!(one.to_string().parse::<ConversationKey>().unwrap(), *one);
            assert_eq!(one.id().as_str(), "team-42");
        }
    }

    #[test]
    fn whoever_did_not_say_who_they_are_means_what_the_id_alone_means() {
        for address in ["address:192.0.2.7", "address:2001:db8::/64"] {
            assert_eq!((key(address).to_string().as_str(), key(address).realm()), ("team-42", Realm::Common));
        }
    }

    #[test]
    fn a_key_does_not_show_whose_it_is() {
        let key = key("subject:ada@example.org").to_string();
        assert!(!key.contains("ada") && key.len() == 32 + 1 + "team-42".len(), "{key}");
    }

    #[test]
    fn only_the_canonical_spelling_of_a_key_is_one() {
        let hash = "0123456789abcdef0123456789abcdef";
        let (upper, signed) = (hash.to_uppercase(), format!("+{}", &hash[1..]));
        for wrong in
            ["", ".", ".a", "a.b", &format!("{hash}."), &format!("{upper}.a"), &format!("{signed}.a")]
        {
            assert!(wrong.parse::<ConversationKey>().is_err(), "{wrong}");
        }
        assert!(format!("{hash}.a").parse::<ConversationKey>().is_ok());
    }
}
