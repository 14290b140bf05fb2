//! Making connections: cheap ones, without Nagle's delay, from several source addresses if asked.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::fault::{Fault, NO_CONNECTION, NO_DESCRIPTORS};
use crate::target::Target;

/// A connection, secured or not.
pub trait Pipe: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Pipe for T {}

/// Longer than a lost SYN takes to be repeated twice.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes connections.
#[derive(Clone)]
pub struct Dialer {
    sources: Arc<[IpAddr]>,
    next: Arc<AtomicUsize>,
    tls: Option<TlsConnector>,
}

impl Dialer {
    /// Connects from these addresses in rotation; from the one the system chooses if there are none. The authorities of
    /// the machine (or `SSL_CERT_FILE`) are read once, and only if a target needs them.
    pub fn new(sources: &[IpAddr], targets: &[Target]) -> anyhow::Result<Self> {
        let tls = targets.iter().any(|target| target.is_secure).then(connector).transpose()?;
        Ok(Self { sources: sources.into(), next: Arc::default(), tls })
    }

    /// Connects.
    pub async fn connect(&self, target: &Target) -> Result<Box<dyn Pipe>, Fault> {
        match timeout(CONNECT_TIMEOUT, self.dial(target)).await {
            Ok(Ok(pipe)) => Ok(pipe),
            Ok(Err(error)) if is_exhaustion(&error) => Err(NO_DESCRIPTORS),
            Ok(Err(_)) | Err(_) => Err(NO_CONNECTION),
        }
    }

    async fn dial(&self, target: &Target) -> io::Result<Box<dyn Pipe>> {
        let mut found = tokio::net::lookup_host((target.host.as_str(), target.port)).await?;
        let address = found.next().ok_or(io::ErrorKind::NotFound)?;
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if !self.sources.is_empty() {
            let source = self.sources[self.next.fetch_add(1, Ordering::Relaxed) % self.sources.len()];
            socket.bind(SocketAddr::new(source, 0))?;
        }
        socket.set_nodelay(true)?;
        let stream = socket.connect(address).await?;
        match &self.tls {
            Some(tls) if target.is_secure => {
                let name = ServerName::try_from(target.host.clone()).map_err(io::Error::other)?;
                Ok(Box::new(tls.connect(name, stream).await?))
            }
            _ => Ok(Box::new(stream)),
        }
    }
}

fn connector() -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    anyhow::ensure!(!roots.is_empty(), "this machine trusts no certificate authority: set SSL_CERT_FILE");
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("no TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Too many open files (23, 24), or no free port (98, 99).
fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24 | 98 | 99))
}
