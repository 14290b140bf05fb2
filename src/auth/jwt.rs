//! Tokens (RFC 7519), and the issuer's keys, fetched and kept fresh: what a caller sends never makes us fetch more often
//! than once in [`COOL_DOWN`], and nothing fetched is larger than [`MAX_DOCUMENT`] or waited for longer than the settings say.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use jsonwebtoken::{Algorithm, decode_header};
use tokio::sync::{Notify, watch as channel};
use tokio::time::{Instant, timeout};

use super::jwks::{KeySet, NoKeys};
use super::rules::Rules;
use super::{AuthError, Denied, Grant, static_key};
use crate::config;
use crate::resilience::jittered;
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::{Metrics, WatchedFile};

/// After an attempt to fetch the keys, an unknown key id does not cause another for this long.
const COOL_DOWN: Duration = Duration::from_secs(10);
/// Pauses after failed attempts: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The largest key set: 64 large RSA keys with their certificates have about 300 KiB.
const MAX_DOCUMENT: usize = 512 * 1024;

/// What is known of the issuer's keys.
#[derive(Clone, Default)]
struct Known {
    keys: Option<Arc<KeySet>>,
    /// When fetching was last tried to its end.
    tried: Option<Instant>,
}

/// Checks tokens.
pub(super) struct Tokens {
    rules: Rules,
    algorithms: Vec<Algorithm>,
    known: channel::Sender<Known>,
    source: Option<Source>,
}

struct Source {
    url: String,
    client: reqwest::Client,
    refresh: Duration,
    timeout: Duration,
    wanted: Notify,
}

/// Why the keys could not be fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the issuer's keys cannot be fetched")]
    Transport(#[from] reqwest::Error),
    #[error("the issuer answered with status {0}")]
    Status(u16),
    #[error("the issuer's answer is larger than 512 KiB")]
    TooLarge,
    #[error("the issuer's answer holds no keys")]
    NoKeys(#[from] NoKeys),
}

impl Tokens {
    pub fn new(settings: &config::Jwt, policies: &[&str]) -> Result<Self, AuthError> {
        let source = settings.jwks_url.as_deref().map(|url| Source::new(url, settings)).transpose()?;
        let fixed = settings.key_file.as_deref().map(|file| static_key::load(file, settings)).transpose()?;
        let known = Known { keys: fixed.map(Arc::new), tried: None };
        Ok(Self {
            rules: Rules::new(settings, policies),
            algorithms: settings.algorithms.clone(),
            known: channel::Sender::new(known),
            source,
        })
    }

    pub async fn admit(&self, token: &str) -> Result<Grant, Denied> {
        let header = decode_header(token).map_err(|_| Denied::Malformed)?;
        // Nothing in `crit` is understood here (RFC 7515 §4.1.11), and no key comes with the token itself.
        if header.crit.is_some() {
            return Err(Denied::Malformed);
        }
        if !self.algorithms.contains(&header.alg) {
            return Err(Denied::Algorithm);
        }
        let mut keys = self.known.borrow().keys.clone();
        if keys.as_ref().is_none_or(|keys| keys.find(&header).is_none()) {
            keys = self.fetched_again().await;
        }
        let keys = keys.ok_or(Denied::Unavailable)?;
        let key = keys.find(&header).ok_or(Denied::Unknown)?;
        self.rules.judge(token, &header, key)
    }

    /// Whether the key with this id still signs tokens.
    pub fn trusts(&self, key_id: Option<&str>) -> bool {
        self.known.borrow().keys.as_ref().is_some_and(|keys| keys.has(key_id))
    }

    /// The keys after one more look at the issuer, unless it was looked at just now.
    async fn fetched_again(&self) -> Option<Arc<KeySet>> {
        let mut known = self.known.subscribe();
        let now = known.borrow_and_update().clone();
        if let Some(source) = &self.source
            && now.tried.is_none_or(|tried| tried.elapsed() >= COOL_DOWN)
        {
            source.wanted.notify_one();
            let _ = timeout(source.timeout, known.changed()).await;
            return known.borrow().keys.clone();
        }
        now.keys
    }

    /// Fetches the keys now and again, until the replica stops. Old keys are good until there are new ones.
    pub async fn keep_fresh(
        self: Arc<Self>,
        shutdown: Shutdown,
        metrics: Arc<Metrics>,
        changed: channel::Sender<()>,
    ) {
        let Some(source) = &self.source else { return };
        let closing = shutdown.closing();
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(fetched) = closing.run_until_cancelled(source.fetch(&self.algorithms)).await else {
                return;
            };
            metrics.process.note_reload(WatchedFile::Jwks, fetched.as_ref().map(|_| ()));
            let rest = if fetched.is_ok() { source.refresh } else { jittered(pause) };
            pause = if fetched.is_ok() { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            self.known.send_modify(|known| {
                known.tried = Some(Instant::now());
                if let Ok(keys) = fetched {
                    known.keys = Some(Arc::new(keys));
                }
            });
            changed.send_replace(());
            tokio::select! {
                () = closing.cancelled() => return,
                () = tokio::time::sleep(rest) => {}
                () = source.wanted.notified() => {}
            }
        }
    }
}

impl Source {
    fn new(url: &str, settings: &config::Jwt) -> Result<Self, AuthError> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("polylogue/", env!("CARGO_PKG_VERSION")))
            .timeout(*settings.timeout)
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .build()?;
        let (refresh, timeout) = (*settings.refresh, *settings.timeout);
        Ok(Self { url: url.to_owned(), client, refresh, timeout, wanted: Notify::new() })
    }

    async fn fetch(&self, algorithms: &[Algorithm]) -> Result<KeySet, FetchError> {
        let answer = self.client.get(&self.url).header(http::header::ACCEPT, "application/json").send();
        let answer = answer.await.map_err(reqwest::Error::without_url)?;
        if answer.status() != http::StatusCode::OK {
            return Err(FetchError::Status(answer.status().as_u16()));
        }
        let mut document = Vec::new();
        let mut parts = answer.bytes_stream();
        while let Some(part) = parts.next().await {
            document.extend_from_slice(&part.map_err(reqwest::Error::without_url)?);
            if document.len() > MAX_DOCUMENT {
                return Err(FetchError::TooLarge);
            }
        }
        Ok(KeySet::parse(&document, algorithms)?)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn fuzz_tokens() {
        let settings = config::Jwt { issuer: Some("https://i".into()), ..config::Config::default().auth.jwt };
        let tokens = Tokens::new(&settings, &[]).unwrap();
        let keys = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/key_sets/three")).unwrap();
        let keys = KeySet::parse(&keys, &tokens.algorithms).unwrap();
        tokens.known.send_modify(|known| known.keys = Some(Arc::new(keys)));
        crate::fuzz::run("tokens", |bytes| {
            let Ok(text) = std::str::from_utf8(bytes) else { return };
            // Nobody has signed any of them.
            assert!(tokens.admit(text).now_or_never().unwrap().is_err());
        });
    }
}
