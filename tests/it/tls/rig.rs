//! A port that speaks TLS, and clients that do.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use polylogue::config::{self, ClientAuth, Config, TlsVersion};
use polylogue::http::accept::{self, Settings, Tls, Watched};
use polylogue::http::{Health, accept::TlsError};
use polylogue::resilience::Pressure;
use polylogue::shutdown::Shutdown;
use polylogue::telemetry::metrics::{Metrics, TlsPort};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use crate::support::{Certificates, Pair};

/// The settings of a port with this certificate.
pub fn settings(pair: &Pair) -> config::Tls {
    let mut tls = Config::default().server.tls;
    (tls.cert_file, tls.key_file) = (Some(pair.certificate.clone()), Some(pair.key.clone()));
    tls
}

/// The same, with client certificates of this authority.
pub fn with_clients(certificates: &Certificates, auth: ClientAuth) -> config::Tls {
    let client_ca_file = Some(certificates.authority());
    config::Tls { client_ca_file, client_auth: auth, ..settings(&certificates.pair("server")) }
}

/// A port whose one answer is how it was called: `https HTTP/2.0`.
pub struct Port {
    pub address: SocketAddr,
    pub metrics: Arc<Metrics>,
}

impl Port {
    pub async fn open(tls: &config::Tls, change: impl FnOnce(&mut Settings)) -> Result<Self, TlsError> {
        let tls = Tls::load(tls, TlsPort::Public)?;
        let mut settings = Settings::public(&Config::default().server).with_tls(tls);
        change(&mut settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, metrics, shutdown) =
            (listener.local_addr().unwrap(), Arc::new(Metrics::new()), Shutdown::new());
        let pressure = Arc::new(Pressure::new(Duration::ZERO));
        let watched = Watched { metrics: Arc::clone(&metrics), health: Arc::new(Health::new()), pressure };
        let endpoint = poem::endpoint::make_sync(|request: poem::Request| {
            poem::Response::builder().body(format!("{} {:?}", request.scheme(), request.version()))
        });
        let endpoint = poem::EndpointExt::map_to_response(endpoint);
        shutdown.spawn(accept::serve(listener, endpoint, settings, Some(watched), shutdown.clone()));
        Ok(Self { address, metrics })
    }

    /// Asks once, as this client does.
    pub async fn ask(&self, client: &reqwest::Client) -> reqwest::Result<String> {
        client.get(format!("https://{}/", self.address)).send().await?.text().await
    }
}

/// A client that believes the test's authority and nobody else.
pub fn client(certificates: &Certificates) -> reqwest::ClientBuilder {
    let authority = std::fs::read(certificates.authority()).unwrap();
    let authority = reqwest::Certificate::from_pem(&authority).unwrap();
    reqwest::Client::builder().no_proxy().tls_certs_only([authority])
}

/// A client that shows this certificate.
pub fn client_with(certificates: &Certificates, shown: &Pair) -> reqwest::Client {
    let pem = [&shown.key, &shown.certificate].map(|path| std::fs::read(path).unwrap()).concat();
    client(certificates).identity(reqwest::Identity::from_pem(&pem).unwrap()).build().unwrap()
}

/// How a raw client speaks.
#[derive(Default)]
pub struct Manner {
    pub protocols: Vec<&'static str>,
    pub only: Option<TlsVersion>,
}

/// A handshake, on a connection that is there.
pub async fn shake(
    certificates: &Certificates,
    io: TcpStream,
    manner: Manner,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificates.authority()).unwrap()).unwrap();
    let versions: &[&SupportedProtocolVersion] = match manner.only {
        None => &[&TLS12, &TLS13],
        Some(TlsVersion::V1_2) => &[&TLS12],
        Some(TlsVersion::V1_3) => &[&TLS13],
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
    let mut client = builder.with_no_client_auth();
    client.alpn_protocols = manner.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(client)).connect("localhost".try_into().unwrap(), io).await
}

/// The certificate that a server shows first.
pub fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// What a file holds, as it is shown.
pub fn in_file(path: &Path) -> Vec<u8> {
    CertificateDer::from_pem_file(path).unwrap().to_vec()
}

/// Whether this private key can be read; a certificate's key is always a file of its own here.
pub fn is_key(path: &Path) -> bool {
    PrivateKeyDer::from_pem_file(path).is_ok()
}
