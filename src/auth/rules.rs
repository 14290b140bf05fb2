//! What a token must say to be worth something, and what it is worth then.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode};
use serde_json::{Map, Value};

use super::{Denied, Grant, Proof};
use crate::config;
use crate::words::{CallerName, PersonaId, Principal, Timestamp};

/// What is asked of every token.
#[derive(Debug)]
pub(super) struct Rules {
    validation: Validation,
    leeway: Duration,
    personas_claim: Option<String>,
    policies_claim: Option<String>,
    policies: Vec<String>,
}

/// A key that signs tokens, and how.
#[derive(Clone)]
pub(super) struct VerificationKey {
    pub id: Option<Arc<str>>,
    pub key: DecodingKey,
    /// Only these: an RSA key taken for a shared secret would let anybody sign (RFC 8725 §2.1).
    pub algorithms: Vec<Algorithm>,
}

impl Rules {
    pub fn new(settings: &config::Jwt, policies: &[&str]) -> Self {
        let leeway = settings.leeway.as_secs();
        let mut validation = Validation { leeway, validate_nbf: true, ..Validation::default() };
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(settings.issuer.as_slice());
        validation.set_audience(&settings.audience);
        Self {
            validation,
            leeway: *settings.leeway,
            personas_claim: settings.personas_claim.clone(),
            policies_claim: settings.policies_claim.clone(),
            policies: policies.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    /// What `token`, whose header says that it is signed by `key`, is worth.
    pub fn judge(&self, token: &str, header: &Header, key: &VerificationKey) -> Result<Grant, Denied> {
        if !key.algorithms.contains(&header.alg) {
            return Err(Denied::Algorithm);
        }
        let validation = Validation { algorithms: vec![header.alg], ..self.validation.clone() };
        let claims = decode::<Map<String, Value>>(token, &key.key, &validation)
            .map_err(|error| denied(error.kind()))?;
        self.grant(&claims.claims, key.id.clone())
    }

    fn grant(&self, claims: &Map<String, Value>, key_id: Option<Arc<str>>) -> Result<Grant, Denied> {
        let subject = claims.get("sub").and_then(Value::as_str).ok_or(Denied::Claims)?;
        let subject: CallerName = subject.parse().map_err(|_| Denied::Claims)?;
        let expiry = claims.get("exp").and_then(Value::as_f64).ok_or(Denied::Claims)?;
        let expiry =
            Duration::try_from_secs_f64(expiry).map_err(|_| Denied::Claims)?.saturating_add(self.leeway);
        let expiry = u64::try_from(expiry.as_millis()).unwrap_or(u64::MAX);
        Ok(Grant {
            principal: Principal::Subject(subject),
            personas: self.personas(claims)?,
            policies: self.policies(claims)?,
            expires_at: Some(Timestamp::from_millis(expiry)),
            proof: Proof::Token { key_id },
        })
    }

    /// Without the claim a token is good for all personas; one that cannot be understood is good for nothing. What no
    /// persona can be called restricts as well as what none is called, so it is left out.
    fn personas(&self, claims: &Map<String, Value>) -> Result<Option<Arc<BTreeSet<PersonaId>>>, Denied> {
        let Some(names) = listed(claims, self.personas_claim.as_deref())? else { return Ok(None) };
        Ok(Some(Arc::new(names.iter().filter_map(|name| name.parse().ok()).collect())))
    }

    /// Policies that there are not would limit nothing: such a token is good for nothing.
    fn policies(&self, claims: &Map<String, Value>) -> Result<Option<Arc<[String]>>, Denied> {
        let Some(names) = listed(claims, self.policies_claim.as_deref())? else { return Ok(None) };
        let known = names.iter().all(|name| self.policies.iter().any(|policy| policy == name));
        let names: Vec<_> = names.into_iter().map(str::to_owned).collect();
        known.then(|| Some(names.into())).ok_or(Denied::Claims)
    }
}

/// The texts of a claim: a list, or one text with spaces between them (as `scope` has it, RFC 8693 §4.2).
fn listed<'a>(claims: &'a Map<String, Value>, claim: Option<&str>) -> Result<Option<Vec<&'a str>>, Denied> {
    match claim.and_then(|claim| claims.get(claim)) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.split_whitespace().collect())),
        Some(Value::Array(texts)) => {
            texts.iter().map(Value::as_str).collect::<Option<_>>().map(Some).ok_or(Denied::Claims)
        }
        Some(_) => Err(Denied::Claims),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "another crate's open list; what is not told apart is a wrong form"
)]
fn denied(kind: &ErrorKind) -> Denied {
    match kind {
        ErrorKind::ExpiredSignature => Denied::Expired,
        ErrorKind::ImmatureSignature => Denied::NotYet,
        ErrorKind::InvalidIssuer => Denied::Issuer,
        ErrorKind::InvalidAudience => Denied::Audience,
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => Denied::Algorithm,
        ErrorKind::InvalidSignature => Denied::Signature,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => Denied::Claims,
        _ => Denied::Malformed,
    }
}
