//! How long a socket's caller may be there, and how it stays longer.

use std::future::pending;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret as _, SecretString};

use crate::auth::{Authenticator, Denied, Grant};
use crate::http::problem::Problem;
use crate::http::{Identity, Services};
use crate::limits::FAILED_AUTHENTICATION;
use crate::words::{ErrorCode, Failure};

/// Waits for the end of a grant.
pub(super) struct Watch(Option<BoxFuture<'static, ()>>);

impl Watch {
    /// Over nothing where authentication is off.
    pub fn over(auth: &Arc<Authenticator>, grant: Option<&Arc<Grant>>) -> Self {
        Self(grant.map(|grant| Arc::clone(auth).ended(Arc::clone(grant)).boxed()))
    }

    /// The credential has expired, or was revoked. Cancel-safe.
    pub async fn ended(&mut self) {
        match &mut self.0 {
            Some(ended) => {
                ended.await;
                self.0 = None;
            }
            None => pending().await,
        }
    }
}

/// What the credential of an `auth` frame is worth on the socket of `identity`: the same caller's only.
pub(super) async fn renewed(
    services: &Services,
    identity: &Identity,
    token: &SecretString,
) -> Result<Arc<Grant>, Box<Problem>> {
    let refuse = |code, detail: &str| Box::new(Problem::from(Failure::new(code, detail)));
    if !services.auth.is_on() {
        let detail = "Authentication is off; there is nothing to authenticate for.";
        return Err(refuse(ErrorCode::InvalidRequest, detail));
    }
    match services.auth.admit(Some(token.expose_secret())).await {
        Ok(grant) if *grant.principal() == identity.principal => Ok(Arc::new(grant)),
        Ok(_) => Err(refuse(ErrorCode::Forbidden, "A socket stays with the caller that opened it.")),
        Err(denied @ Denied::Unavailable) => Err(refuse(ErrorCode::StateUnavailable, denied.detail())),
        Err(denied) => {
            let verdict = services.limits.decide(FAILED_AUTHENTICATION, &identity.subject(None)).await;
            match verdict {
                Some(verdict) if !verdict.is_allowed() => Err(super::requests::rate_limited(&verdict)),
                Some(_) | None => Err(refuse(ErrorCode::Unauthenticated, denied.detail())),
            }
        }
    }
}
