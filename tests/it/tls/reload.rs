//! Certificates are renewed while the service runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use polylogue::telemetry::metrics::{Outcome, TlsPort, WatchedFile};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::rig::{Manner, in_file, settings, shake, shown};
use crate::support::{Certificates, Folder, Pair, TestApp, eventually};

/// A folder as Kubernetes mounts a Secret: the files are links through `..data`, which is swapped by a rename.
struct Volume {
    folder: Folder,
    versions: std::cell::Cell<u32>,
}

impl Volume {
    fn with(pair: &Pair) -> Self {
        let volume = Self { folder: Folder::new(), versions: 0.into() };
        volume.swap(pair);
        for name in ["tls.crt", "tls.key"] {
            symlink(format!("..data/{name}"), volume.path(name)).unwrap();
        }
        volume
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn mounted(&self) -> Pair {
        Pair { certificate: self.path("tls.crt"), key: self.path("tls.key") }
    }

    fn swap(&self, pair: &Pair) {
        self.versions.set(self.versions.get() + 1);
        let version = format!("..version-{}", self.versions.get());
        fs::create_dir(self.path(&version)).unwrap();
        fs::copy(&pair.certificate, self.path(&version).join("tls.crt")).unwrap();
        fs::copy(&pair.key, self.path(&version).join("tls.key")).unwrap();
        symlink(version, self.path("..data_tmp")).unwrap();
        fs::rename(self.path("..data_tmp"), self.path("..data")).unwrap();
    }
}

struct Scene {
    certificates: Certificates,
    volume: Volume,
    app: TestApp,
}

async fn scene() -> Scene {
    let certificates = Certificates::make();
    let volume = Volume::with(&certificates.pair("server"));
    let tls = settings(&volume.mounted());
    let app = TestApp::with(|config| config.server.tls = tls).await;
    Scene { certificates, volume, app }
}

impl Scene {
    async fn connect(&self) -> tokio_rustls::client::TlsStream<TcpStream> {
        let io = TcpStream::connect(self.app.app.listen()).await.unwrap();
        shake(&self.certificates, io, Manner::default()).await.unwrap()
    }

    fn reloads(&self, outcome: Outcome) -> u64 {
        self.app.app.services().metrics.process.reloads.get(&(WatchedFile::Tls, outcome))
    }

    async fn reloaded(&self, outcome: Outcome, times: u64) {
        let claim = format!("{outcome:?} {times} times");
        eventually(&claim, async || self.reloads(outcome) == times).await;
    }

    fn expiry(&self) -> i64 {
        self.app.app.services().metrics.connections.certificate_expiry.get(&(TlsPort::Public,))
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_for_new_connections_and_open_ones_go_on() {
    let scene = scene().await;
    let mut before = scene.connect().await;
    eventually("the end of the certificate is known", async || scene.expiry() > 0).await;
    let (old, renewed) = (scene.expiry(), scene.certificates.issue("renewed", "server", 30));
    scene.volume.swap(&renewed);
    scene.reloaded(Outcome::Ok, 1).await;

    let after = scene.connect().await;
    assert_eq!(shown(&before), in_file(&scene.certificates.pair("server").certificate));
    assert_eq!(shown(&after), in_file(&renewed.certificate));
    let days = (scene.expiry() - old) / 86_400;
    assert!((27..=28).contains(&days), "{days}");
    before.write_all(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
    let mut status = [0; 12];
    before.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_wrong_pair_changes_nothing_is_told_of_once_and_the_next_right_one_is_taken() {
    let scene = scene().await;
    let renewed = scene.certificates.issue("renewed", "server", 30);
    let mismatched =
        Pair { certificate: renewed.certificate.clone(), key: scene.certificates.pair("server").key };
    scene.volume.swap(&mismatched);
    scene.reloaded(Outcome::Error, 1).await;
    assert_eq!(shown(&scene.connect().await), in_file(&scene.certificates.pair("server").certificate));

    scene.volume.swap(&renewed);
    scene.reloaded(Outcome::Ok, 1).await;
    assert_eq!(shown(&scene.connect().await), in_file(&renewed.certificate));
    assert_eq!(scene.reloads(Outcome::Error), 1, "it is told of once");
}
