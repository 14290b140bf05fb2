//! The name of everything kept in Redis (`state.md` §2), in one place.
//!
//! Braces choose the slot: all keys of a conversation and its turns are in one, so that every change of a turn is one
//! step on a Cluster too; an idempotency key has one of its own, because it must be found without a conversation, and so
//! has the list of a principal's conversations; what is about the replicas, the sockets and the limits has one each.

use sha2::{Digest as _, Sha256};

use crate::config::KeyPrefix;
use crate::words::{ConversationKey, Principal, PrincipalHash, ReplicaId, TurnId};

/// The shape of what is kept. Another shape is another number: replicas of both may run side by side.
const SCHEMA: u32 = 1;

/// Names keys.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &KeyPrefix) -> Self {
        Self { prefix: format!("{}:{SCHEMA}", prefix.as_str()) }
    }

    fn of_tag(&self, tag: u16, rest: &str) -> String {
        format!("{}:{{{tag:04x}}}:{rest}", self.prefix)
    }

    fn of(&self, tag: &str, rest: &str) -> String {
        format!("{}:{{{tag}}}:{rest}", self.prefix)
    }

    /// What was said: a hash of message ids, and marks.
    pub fn conversation(&self, id: &ConversationKey) -> String {
        self.of_tag(id.tag(), &format!("conv:{id}"))
    }

    /// Which conversations somebody has: a sorted set by when they were spoken in, an index only.
    pub fn listed(&self, of: PrincipalHash) -> String {
        let hash = of.to_string();
        self.of(&format!("l{}", &hash[..4]), &format!("listed:{hash}"))
    }

    /// The id of the conversation's newest turn.
    pub fn current(&self, id: &ConversationKey) -> String {
        self.of_tag(id.tag(), &format!("current:{id}"))
    }

    /// What is known of a turn beside its events: a hash.
    pub fn turn(&self, id: TurnId) -> String {
        self.of_tag(id.tag(), &format!("turn:{id}"))
    }

    /// A turn's events: a stream.
    pub fn log(&self, id: TurnId) -> String {
        self.of_tag(id.tag(), &format!("log:{id}"))
    }

    /// What an idempotency key stands for. It is found by the key alone, so it has a slot of its own.
    pub fn idempotency(&self, key: &[u8; 32]) -> String {
        let hex = hex(key);
        self.of(&format!("i{}", &hex[..4]), &format!("idem:{hex}"))
    }

    /// Every replica's sign of life: a hash.
    pub fn replicas(&self) -> String {
        self.of("fleet", "replicas")
    }

    /// The turns a replica owns: a set, an index only.
    pub fn owned(&self, replica: &ReplicaId) -> String {
        self.of("fleet", &format!("owned:{replica}"))
    }

    /// Turns nobody owns: a set, an index only.
    pub fn orphans(&self) -> String {
        self.of("fleet", "orphans")
    }

    /// A random text; a changed one means that Redis lost its data.
    pub fn data(&self) -> String {
        self.of("fleet", "data")
    }

    /// Which conversations were forgotten of late: a stream, so that copies elsewhere go too.
    pub fn forgotten(&self) -> String {
        self.of("fleet", "forgotten")
    }

    /// A principal's places for sockets: a sorted set by expiry.
    pub fn places(&self, principal: &Principal) -> String {
        self.of("conns", &short_hash(&principal.to_string()))
    }

    /// Holders whose place a newer one took, until they were told: a sorted set by expiry.
    pub fn replaced(&self, principal: &Principal) -> String {
        self.of("conns", &format!("{}:replaced", short_hash(&principal.to_string())))
    }

    /// Whose sockets are to end: a stream of hashes of principals.
    pub fn dismissed(&self) -> String {
        self.of("conns", "dismissed")
    }

    /// What a ticket stands for, found by the ticket alone: it has a slot of its own.
    pub fn note(&self, name: &[u8; 32]) -> String {
        let hex = hex(name);
        self.of(&format!("n{}", &hex[..4]), &format!("note:{hex}"))
    }

    /// What a policy has counted of a subject.
    pub fn limit(&self, policy: &str, subject: &str) -> String {
        self.of("limits", &format!("{policy}:{}", short_hash(subject)))
    }
}

/// 128 bits of a hash: who somebody is does not stand in Redis' keys.
fn short_hash(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes())[..16])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_of_a_conversation_is_in_one_slot() {
        let keys = Keys::new(&KeyPrefix::try_from("polylogue".to_owned()).unwrap());
        let conversation: ConversationKey = "team-42".parse().unwrap();
        let turn = TurnId::new(crate::words::new_ulid(1), &conversation);
        let slot = |key: String| key.split(['{', '}']).nth(1).unwrap().to_owned();
        let slots =
            [keys.conversation(&conversation), keys.current(&conversation), keys.turn(turn), keys.log(turn)];
        let [first, rest @ ..] = slots.map(slot);
        assert!(rest.iter().all(|other| *other == first));
        assert_eq!(first, format!("{:04x}", conversation.tag()));
        assert!(keys.log(turn).starts_with("polylogue:1:{"));
        let own = ConversationKey::of(&"key:ada".parse().unwrap(), conversation.id());
        assert_ne!(keys.conversation(&own), keys.conversation(&conversation));
        assert!(!keys.conversation(&own).contains("ada"));
        assert!(!keys.limit("default", "192.0.2.7").contains("192"));
    }
}
