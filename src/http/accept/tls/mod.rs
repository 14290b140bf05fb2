//! TLS on a port: a certificate from files, which are looked at again and again, because certificates are renewed.

mod files;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use files::{Contents, Loaded};

use crate::config;
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::{Metrics, Outcome, TlsPort, WatchedFile};

/// How often the files are looked at. Their content is compared, so Kubernetes' symlink swaps are seen like any change.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What is wrong with a file of a port's certificate.
#[derive(Debug, thiserror::Error)]
#[error("{key} ({}): {reason}", path.display())]
pub struct TlsError {
    /// The setting that names the file.
    key: String,
    path: PathBuf,
    reason: String,
}

/// The certificate of a port, as the files had it last when they were right.
pub struct Tls {
    port: TlsPort,
    settings: config::Tls,
    current: RwLock<Loaded>,
}

impl Tls {
    /// Reads the files of `settings`; `None` where they name none. Blocks.
    ///
    /// # Errors
    /// If a file cannot be read, is not PEM, does not hold what it should, or the key is another certificate's.
    pub fn load(settings: &config::Tls, port: TlsPort) -> Result<Option<Arc<Self>>, TlsError> {
        let Some(files) = settings.pair() else { return Ok(None) };
        let loaded = Contents::read(settings, files).loaded(settings, section(port))?;
        Ok(Some(Arc::new(Self { port, settings: settings.clone(), current: RwLock::new(loaded) })))
    }

    /// For a new connection: the certificate in force now.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.current(|loaded| loaded.config.clone()).into()
    }

    /// Takes over what the files say whenever they change, until `shutdown` closes. New connections get the new
    /// certificate, open ones keep theirs. Files that are wrong change nothing and are told of once; not before they
    /// were seen twice, because somebody may be writing them right now.
    pub async fn watch(self: Arc<Self>, shutdown: Shutdown, metrics: Arc<Metrics>) {
        self.in_force(&metrics);
        let (mut judged, mut doubtful) = (self.current(|loaded| loaded.fingerprint), None);
        loop {
            tokio::select! {
                () = shutdown.closing().cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let this = Arc::clone(&self);
            let looking = tokio::task::spawn_blocking(move || this.look(judged));
            match looking.await.ok().flatten() {
                None => doubtful = None,
                Some((fingerprint, Ok(loaded))) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded;
                    (judged, doubtful) = (fingerprint, None);
                    self.reloaded(&metrics);
                }
                Some((fingerprint, Err(error))) if doubtful == Some(fingerprint) => {
                    (judged, doubtful) = (fingerprint, None);
                    self.not_reloaded(&metrics, &error);
                }
                Some((fingerprint, Err(_))) => doubtful = Some(fingerprint),
            }
        }
    }

    /// What the files say, if it is not what `judged` stands for. Blocks.
    fn look(&self, judged: Fingerprint) -> Option<(Fingerprint, Result<Loaded, TlsError>)> {
        let contents = Contents::read(&self.settings, self.settings.pair()?);
        let fingerprint = contents.fingerprint();
        (fingerprint != judged).then(|| (fingerprint, contents.loaded(&self.settings, section(self.port))))
    }

    fn current<T>(&self, of: impl FnOnce(&Loaded) -> T) -> T {
        of(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn watched(&self) -> WatchedFile {
        match self.port {
            TlsPort::Public => WatchedFile::Tls,
            TlsPort::Management => WatchedFile::ManagementTls,
        }
    }

    fn reloaded(&self, metrics: &Metrics) {
        metrics.process.reloads.inc(&(self.watched(), Outcome::Ok));
        info!(event = "config_reloaded", file = section(self.port), "certificate taken over");
        self.in_force(metrics);
    }

    fn not_reloaded(&self, metrics: &Metrics, error: &TlsError) {
        metrics.process.reloads.inc(&(self.watched(), Outcome::Error));
        let error: &(dyn std::error::Error + 'static) = error;
        warn!(
            event = "config_reload_failed",
            file = section(self.port),
            error,
            "certificate is wrong; nothing changes"
        );
    }

    /// Makes visible until when the certificate is good.
    fn in_force(&self, metrics: &Metrics) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let expiry = self.current(|loaded| loaded.expiry);
        metrics.connections.certificate_expiry.set(&(self.port,), expiry);
        metrics.process.reloaded.set(&(self.watched(),), now);
        let file = section(self.port);
        let expires =
            OffsetDateTime::from_unix_timestamp(expiry).ok().and_then(|at| at.format(&Rfc3339).ok());
        if expiry <= now {
            warn!(event = "tls_certificate_expired", file, expires, "clients will refuse the certificate");
        } else {
            info!(event = "tls_certificate_in_force", file, expires, "new connections get this certificate");
        }
    }
}

/// Shows no key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.port).finish()
    }
}

/// What tells one set of contents from another, without keeping a private key.
type Fingerprint = [u8; 32];

/// The settings' section, as messages and log lines name it.
fn section(port: TlsPort) -> &'static str {
    match port {
        TlsPort::Public => "server.tls",
        TlsPort::Management => "server.management_tls",
    }
}
