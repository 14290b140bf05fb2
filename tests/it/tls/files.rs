//! What is wrong with the files is said at the start.

use std::fs;
use std::path::Path;

use polylogue::config;
use polylogue::http::accept::Tls;
use polylogue::telemetry::metrics::TlsPort;

use super::rig::{is_key, settings, with_clients};
use crate::support::{Certificates, Pair, Scratch, polylogue};

/// Why these settings are refused.
fn wrong(tls: &config::Tls) -> String {
    Tls::load(tls, TlsPort::Management).unwrap_err().to_string()
}

fn pair(certificate: &Path, key: &Path) -> config::Tls {
    settings(&Pair { certificate: certificate.into(), key: key.into() })
}

#[test]
fn a_wrong_file_is_named_with_its_key_and_the_reason() {
    let (certificates, nowhere) = (Certificates::make(), Path::new("/nowhere/tls.pem"));
    let good = certificates.pair("server");
    let text = fs::read_to_string(&good.certificate).unwrap();
    let half = Scratch::file("pem", &text[..text.len() / 2]);
    let noise = Scratch::file("pem", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n");
    let other = Scratch::file("pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let large = Scratch::file("pem", &" ".repeat(1 << 21));

    let certificate = |path: &Path| wrong(&pair(path, &good.key));
    let key = |path: &Path| wrong(&pair(&good.certificate, path));
    let said = |name: &str, path: &Path, reason: &str| {
        format!("server.management_tls.{name} ({}): {reason}", path.display())
    };
    let missing = "it cannot be read: No such file or directory (os error 2)";
    assert_eq!(certificate(nowhere), said("cert_file", nowhere, missing));
    assert_eq!(key(nowhere), said("key_file", nowhere, missing));
    for (path, reason) in [
        (half.path(), "it is not complete"),
        (noise.path(), "it is not PEM"),
        (other.path(), "its first certificate cannot be read"),
        (large.path(), "it is larger than 1 MiB"),
        (good.key.clone(), "there is no certificate in it"),
    ] {
        assert_eq!(certificate(&path), said("cert_file", &path, reason));
    }
    let reason = "there is no private key in it that can be read without a password";
    assert_eq!(key(&good.certificate), said("key_file", &good.certificate, reason));
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let certificates = Certificates::make();
    let other = certificates.pair("client").key;
    assert!(is_key(&other));
    let said = wrong(&pair(&certificates.pair("server").certificate, &other));
    assert!(said.starts_with("server.management_tls.key_file ("), "{said}");
    assert!(said.ends_with(": it is not the key of the certificate in cert_file"), "{said}");
}

#[test]
fn authorities_of_clients_are_looked_at_too() {
    let certificates = Certificates::make();
    let mut tls = with_clients(&certificates, config::ClientAuth::Required);
    tls.client_ca_file = Some(certificates.pair("server").key);
    let said = wrong(&tls);
    assert!(said.starts_with("server.management_tls.client_ca_file ("), "{said}");
    assert!(said.ends_with(": there is no certificate in it"), "{said}");
}

#[test]
fn the_program_does_not_start_with_them_and_says_why() {
    let certificates = Certificates::make();
    let good = certificates.pair("server");
    let (certificate, key) = (good.certificate.display(), certificates.pair("client").key);
    let ends = |settings: &[String]| {
        let free = ["--listen", "127.0.0.1:0", "--management-listen", "127.0.0.1:0"].map(str::to_owned);
        let set = settings.iter().flat_map(|setting| ["--set".to_owned(), setting.clone()]);
        let arguments: Vec<_> = free.into_iter().chain(set).collect();
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let output = polylogue(&arguments, &[]).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = ends(&[
        format!("server.tls.cert_file={certificate}"),
        format!("server.tls.key_file={}", key.display()),
    ]);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("server.tls.key_file ("), "{said}");

    let (code, said) = ends(&[format!("server.management_tls.cert_file={certificate}")]);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("server.management_tls.cert_file: needs server.management_tls.key_file"), "{said}");

    let (code, said) =
        ends(&["server.tls.client_auth=required".to_owned(), "server.tls.min_version=1.1".to_owned()]);
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains("server.tls.client_auth: must be \"none\" without server.tls.client_ca_file"),
        "{said}"
    );
    assert!(said.contains("server.tls.min_version = \"1.1\": "), "{said}");
}
