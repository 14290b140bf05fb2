//! The section `auth`; `config/default.toml` explains it.
#![expect(missing_docs, reason = "config/default.toml is the reference: it explains every key, once")]

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::values::{Span, empty_if_none, none_if_empty};

/// Who may ask. With neither part everybody may.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub keys_file: Option<PathBuf>,
    pub jwt: Jwt,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub issuer: Option<String>,
    pub audience: Vec<String>,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub jwks_url: Option<String>,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub key_file: Option<PathBuf>,
    pub algorithms: Vec<jsonwebtoken::Algorithm>,
    pub leeway: Span,
    pub refresh: Span,
    pub timeout: Span,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub personas_claim: Option<String>,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub policies_claim: Option<String>,
}

impl Auth {
    /// Whether anybody has to say who they are.
    pub fn is_on(&self) -> bool {
        self.keys_file.is_some() || self.jwt.is_on()
    }
}

impl Jwt {
    /// Whether tokens are taken.
    pub fn is_on(&self) -> bool {
        self.issuer.is_some()
    }
}
