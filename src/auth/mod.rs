//! Who is calling: API keys and tokens in, a [`Grant`] out. Knows nothing of HTTP.

mod api_key;
mod grant;
mod jwks;
mod jwt;
mod keys_file;
mod rules;
mod static_key;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch as channel;

pub use api_key::{ApiKey, Digest};
pub use grant::{Grant, Proof};
pub use keys_file::{KeyEntry, KeysError};

use crate::config;
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::{AuthMethod, AuthOutcome, Metrics};
use crate::words::Timestamp;
use jwt::Tokens;
use watch::ApiKeys;

/// The longest credential that is looked at: tokens with many claims have about 4 KiB.
const MAX_CREDENTIAL_BYTES: usize = 8 * 1024;
/// A grant is looked at again at least this often, whatever the clock does meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Why a credential is worth nothing. What a caller is told of it is in [`Denied::detail`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is none.
    #[error("there is no credential")]
    Missing,
    /// It is neither an API key nor a token.
    #[error("the credential has no known form")]
    Malformed,
    /// Nobody made this key, or it was revoked; or nobody known signed this token.
    #[error("the credential is not known")]
    Unknown,
    /// It was right once.
    #[error("the credential has expired")]
    Expired,
    /// It will be right later.
    #[error("the token is not valid yet")]
    NotYet,
    /// Another issuer made it.
    #[error("the token has another issuer")]
    Issuer,
    /// It is meant for another service.
    #[error("the token is meant for somebody else")]
    Audience,
    /// It is signed in a way that is not on the list.
    #[error("the token's algorithm is not allowed")]
    Algorithm,
    /// Its signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// It lacks what is needed, or says it in the wrong form.
    #[error("the token's claims are not right")]
    Claims,
    /// What is needed to check it cannot be had now.
    #[error("the keys of the issuer are not available")]
    Unavailable,
}

impl Denied {
    /// What the caller is told: enough to know what to do, nothing of how near it came.
    pub fn detail(self) -> &'static str {
        match self {
            Self::Missing => "A credential is needed: Authorization: Bearer, with an API key or a token.",
            Self::Expired => "The credential has expired.",
            Self::NotYet => "The token is not valid yet.",
            Self::Unavailable => "Tokens cannot be checked now.",
            Self::Malformed
            | Self::Unknown
            | Self::Issuer
            | Self::Audience
            | Self::Algorithm
            | Self::Signature
            | Self::Claims => "The credential is not valid.",
        }
    }

    fn outcome(self) -> AuthOutcome {
        match self {
            Self::Missing => AuthOutcome::Missing,
            Self::Malformed => AuthOutcome::Malformed,
            Self::Unknown => AuthOutcome::Unknown,
            Self::Expired => AuthOutcome::Expired,
            Self::NotYet => AuthOutcome::NotYet,
            Self::Issuer => AuthOutcome::Issuer,
            Self::Audience => AuthOutcome::Audience,
            Self::Algorithm => AuthOutcome::Algorithm,
            Self::Signature => AuthOutcome::Signature,
            Self::Claims => AuthOutcome::Claims,
            Self::Unavailable => AuthOutcome::Unavailable,
        }
    }
}

/// Why authentication cannot start: what the operator gave is wrong.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The file of API keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The file of the key that signs tokens.
    #[error("auth.jwt.key_file {file}: {reason}")]
    StaticKey {
        /// Which file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The system has no usable root certificates.
    #[error("the client for auth.jwt.jwks_url cannot be made")]
    Client(#[from] reqwest::Error),
}

/// Checks credentials. Made once.
pub struct Authenticator {
    keys: Option<Arc<ApiKeys>>,
    tokens: Option<Arc<Tokens>>,
    /// Says that what is valid may have changed.
    changed: channel::Sender<()>,
    metrics: Arc<Metrics>,
}

impl Authenticator {
    /// Reads what the settings name, and keeps it up to date until the replica stops.
    pub fn start(
        settings: &config::Auth,
        policies: &[&str],
        metrics: &Arc<Metrics>,
        shutdown: &Shutdown,
    ) -> Result<Arc<Self>, AuthError> {
        let changed = channel::Sender::new(());
        let keys = settings.keys_file.as_deref().map(|file| ApiKeys::load(file, policies)).transpose()?;
        let tokens = settings.jwt.is_on().then(|| Tokens::new(&settings.jwt, policies)).transpose()?;
        let (keys, tokens) = (keys.map(Arc::new), tokens.map(Arc::new));
        if let Some(keys) = &keys {
            shutdown.spawn(Arc::clone(keys).watch(shutdown.clone(), Arc::clone(metrics), changed.clone()));
        }
        if let Some(tokens) = &tokens {
            let tokens = Arc::clone(tokens);
            shutdown.spawn(tokens.keep_fresh(shutdown.clone(), Arc::clone(metrics), changed.clone()));
        }
        Ok(Arc::new(Self { keys, tokens, changed, metrics: Arc::clone(metrics) }))
    }

    /// Whether anybody has to say who they are.
    pub fn is_on(&self) -> bool {
        self.keys.is_some() || self.tokens.is_some()
    }

    /// What this credential (the text after `Bearer`) is worth.
    pub async fn admit(&self, credential: Option<&str>) -> Result<Grant, Denied> {
        let (method, admitted) = match credential {
            None => (AuthMethod::None, Err(Denied::Missing)),
            Some(text) if text.starts_with(api_key::PREFIX) => (AuthMethod::ApiKey, self.admit_key(text)),
            Some(text) if text.len() <= MAX_CREDENTIAL_BYTES && text.split('.').count() == 3 => {
                (AuthMethod::Jwt, self.admit_token(text).await)
            }
            Some(_) => (AuthMethod::None, Err(Denied::Malformed)),
        };
        let outcome = admitted.as_ref().map_or_else(|denied| denied.outcome(), |_| AuthOutcome::Ok);
        self.metrics.auth.attempts.inc(&(method, outcome));
        admitted
    }

    fn admit_key(&self, text: &str) -> Result<Grant, Denied> {
        let key = text.parse::<ApiKey>().map_err(|_| Denied::Malformed)?;
        self.keys.as_ref().ok_or(Denied::Unknown)?.admit(&key.digest(), Timestamp::now())
    }

    async fn admit_token(&self, text: &str) -> Result<Grant, Denied> {
        self.tokens.as_ref().ok_or(Denied::Unknown)?.admit(text).await
    }

    /// Whether a grant is still worth something: its credential was not revoked, and has not expired.
    pub fn stands(&self, grant: &Grant) -> bool {
        let known = match grant.proof() {
            Proof::Key(digest) => self.keys.as_ref().is_some_and(|keys| keys.knows(digest)),
            Proof::Token { key_id } => {
                self.tokens.as_ref().is_some_and(|tokens| tokens.trusts(key_id.as_deref()))
            }
        };
        known && grant.expires_in(Timestamp::now()).is_none_or(|left| !left.is_zero())
    }

    /// Waits until a grant is worth nothing any more.
    pub async fn ended(self: Arc<Self>, grant: Arc<Grant>) {
        let mut changed = self.changed.subscribe();
        while self.stands(&grant) {
            let left = grant.expires_in(Timestamp::now()).unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN);
            tokio::select! {
                _ = changed.changed() => {}
                () = tokio::time::sleep(left) => {}
            }
        }
    }
}
