//! What the files of a port's certificate say.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{Error, RootCertStore, ServerConfig, SupportedProtocolVersion};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use super::{Fingerprint, TlsError};
use crate::config::{self, ClientAuth, TlsPair, TlsVersion};

/// The largest file. A chain takes some kilobytes, all authorities of the public web about 200.
const MAX_BYTES: u64 = 1 << 20;
/// What is spoken inside, the best first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// The versions that there are; older ones are broken (RFC 8996).
const FROM_1_2: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
const FROM_1_3: &[&SupportedProtocolVersion] = &[&TLS13];

/// A certificate that can be used.
pub(super) struct Loaded {
    pub config: Arc<ServerConfig>,
    /// When the port's own certificate ends, in Unix seconds.
    pub expiry: i64,
    pub fingerprint: Fingerprint,
}

/// The bytes of the files, as they were at one moment.
pub(super) struct Contents {
    certificate: io::Result<Vec<u8>>,
    key: io::Result<Vec<u8>>,
    client_authorities: Option<io::Result<Vec<u8>>>,
}

impl Contents {
    /// Reads the files, but no more of each than it may have. Blocks.
    pub(super) fn read(settings: &config::Tls, files: TlsPair<'_>) -> Self {
        Self {
            certificate: read(files.certificate),
            key: read(files.key),
            client_authorities: settings.client_ca_file.as_deref().map(read),
        }
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        let mut digest = Sha256::new();
        for content in [Some(&self.certificate), Some(&self.key), self.client_authorities.as_ref()] {
            // What failed to be read says how; each part says how long it is, so that none runs into the next.
            let bytes = match content {
                Some(Ok(bytes)) => bytes.as_slice(),
                Some(Err(error)) => &[error.kind() as u8],
                None => &[],
            };
            digest.update((bytes.len() as u64).to_be_bytes());
            digest.update(bytes);
        }
        digest.finalize().into()
    }

    /// Makes a certificate for use of them; `section` names the settings in errors.
    pub(super) fn loaded(self, settings: &config::Tls, section: &str) -> Result<Loaded, TlsError> {
        let fault = |key: &str, path: Option<&Path>, reason: String| TlsError {
            key: format!("{section}.{key}"),
            path: path.unwrap_or(Path::new("")).to_owned(),
            reason,
        };
        let of_certificate = |reason| fault("cert_file", settings.cert_file.as_deref(), reason);
        let of_key = |reason| fault("key_file", settings.key_file.as_deref(), reason);
        let of_authorities = |reason| fault("client_ca_file", settings.client_ca_file.as_deref(), reason);

        let fingerprint = self.fingerprint();
        let chain = certificates(self.certificate).map_err(of_certificate)?;
        let expiry = expiry(&chain).map_err(of_certificate)?;
        let key = private_key(self.key).map_err(of_key)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let clients = client_verifier(settings.client_auth, self.client_authorities, &provider);
        let clients = clients.map_err(of_authorities)?;

        let versions = match settings.min_version {
            TlsVersion::V1_2 => FROM_1_2,
            TlsVersion::V1_3 => FROM_1_3,
        };
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let builder = builder.map_err(|error| of_certificate(error.to_string()))?;
        let builder = match clients {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            if matches!(error, Error::InconsistentKeys(_)) {
                return of_key("it is not the key of the certificate in cert_file".into());
            }
            of_key(format!("it cannot be used with the certificate: {error}"))
        })?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        Ok(Loaded { config: Arc::new(config), expiry, fingerprint })
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

fn bytes(content: io::Result<Vec<u8>>) -> Result<Vec<u8>, String> {
    content.map_err(|error| {
        if error.kind() == io::ErrorKind::FileTooLarge {
            return "it is larger than 1 MiB".to_owned();
        }
        format!("it cannot be read: {error}")
    })
}

fn certificates(content: io::Result<Vec<u8>>) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = bytes(content)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = certificates.map_err(|error| not_pem(&error))?;
    if certificates.is_empty() { Err("there is no certificate in it".into()) } else { Ok(certificates) }
}

fn private_key(content: io::Result<Vec<u8>>) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(&bytes(content)?).map_err(|error| not_pem(&error))
}

/// Without the library's own words, which may quote the file.
fn not_pem(error: &pem::Error) -> String {
    let reason = if matches!(error, pem::Error::NoItemsFound) {
        "there is no private key in it that can be read without a password"
    } else if matches!(error, pem::Error::MissingSectionEnd { .. }) {
        "it is not complete"
    } else {
        "it is not PEM"
    };
    reason.to_owned()
}

/// Until when the first certificate, the port's own, is good.
fn expiry(chain: &[CertificateDer<'_>]) -> Result<i64, String> {
    let first = chain.first().map(CertificateDer::as_ref).unwrap_or_default();
    let parsed = Certificate::from_der(first).map_err(|_| "its first certificate cannot be read")?;
    let until = parsed.tbs_certificate().validity().not_after.to_unix_duration();
    Ok(i64::try_from(until.as_secs()).unwrap_or(i64::MAX))
}

fn client_verifier(
    wanted: ClientAuth,
    authorities: Option<io::Result<Vec<u8>>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
    let Some(authorities) = authorities.filter(|_| wanted != ClientAuth::None) else { return Ok(None) };
    let mut roots = RootCertStore::empty();
    for authority in certificates(authorities)? {
        roots.add(authority).map_err(|_| "a certificate in it cannot be an authority".to_owned())?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(provider));
    let builder = if wanted == ClientAuth::Optional { builder.allow_unauthenticated() } else { builder };
    builder.build().map(Some).map_err(|error| error.to_string())
}
