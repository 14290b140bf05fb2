//! What a caller may do, and what that rests on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Digest;
use crate::words::{PersonaId, Principal, Timestamp};

/// What a credential is worth. Can be kept (a ticket stands for one), but is not one itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    #[serde(with = "principal_text")]
    pub(super) principal: Principal,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) personas: Option<Arc<BTreeSet<PersonaId>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) policies: Option<Arc<[String]>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_at: Option<Timestamp>,
    pub(super) proof: Proof,
}

/// What a grant rests on; when that goes, the grant goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// The entry with this digest in the file of keys.
    Key(Digest),
    /// A token, signed with the issuer's key of this id.
    Token {
        /// The key's id, where it has one.
        key_id: Option<Arc<str>>,
    },
}

impl Grant {
    /// Who is calling.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Which personas may answer; `None`: all.
    pub fn personas(&self) -> Option<&Arc<BTreeSet<PersonaId>>> {
        self.personas.as_ref()
    }

    /// The limit policies that stand in place of `default`; `None`: that one.
    pub fn policies(&self) -> Option<&Arc<[String]>> {
        self.policies.as_ref()
    }

    /// When it ends by itself.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// What it rests on.
    pub fn proof(&self) -> &Proof {
        &self.proof
    }

    /// How long until it ends by itself: zero if it has; `None` if it never does.
    pub fn expires_in(&self, now: Timestamp) -> Option<Duration> {
        let left = |end: Timestamp| Duration::from_millis(end.as_millis().saturating_sub(now.as_millis()));
        self.expires_at.map(left)
    }
}

/// A principal as its key.
mod principal_text {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::words::Principal;

    pub fn serialize<S: Serializer>(principal: &Principal, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(principal)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Principal, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
