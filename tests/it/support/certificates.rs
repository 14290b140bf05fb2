use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::Folder;

/// Where a certificate and its private key are.
#[derive(Clone)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// A certificate authority of one test, with a certificate for a server on loopback and one for a client.
pub struct Certificates(Folder);

const EXTENSIONS: &str = "
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[server]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1, DNS:localhost
[client]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = clientAuth
[both]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = IP:127.0.0.1, DNS:localhost
";

impl Certificates {
    /// Makes all three.
    pub fn make() -> Self {
        let made = Self(Folder::new());
        fs::write(made.path("openssl.cnf"), EXTENSIONS).unwrap();
        made.certify("authority", "authority", 2, &[]);
        made.issue("server", "server", 2);
        made.issue("client", "client", 2);
        made
    }

    /// Makes one more certificate of a kind ("server", "client", "both"), which is good for so many days.
    pub fn issue(&self, name: &str, kind: &str, days: u32) -> Pair {
        self.certify(name, kind, days, &["-CA", "authority.pem", "-CAkey", "authority.key"]);
        self.pair(name)
    }

    /// A certificate that was made, and its key.
    pub fn pair(&self, name: &str) -> Pair {
        Pair { certificate: self.path(&format!("{name}.pem")), key: self.path(&format!("{name}.key")) }
    }

    fn certify(&self, name: &str, kind: &str, days: u32, by: &[&str]) {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
        let subject = format!("/CN=polylogue test {name}");
        let mut command = Command::new("openssl");
        command.current_dir(self.0.path()).stdout(Stdio::null());
        command.args([
            "req",
            "-x509",
            "-config",
            "openssl.cnf",
            "-days",
            &days.to_string(),
            "-nodes",
            "-newkey",
            "ec",
        ]);
        command.args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-extensions", kind, "-subj", &subject]);
        let output = command.args(["-keyout", &key, "-out", &certificate]).args(by).output();
        let output = output.unwrap_or_else(|error| panic!("openssl ({error}): tests/run installs it"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Who signed both.
    pub fn authority(&self) -> PathBuf {
        self.path("authority.pem")
    }

    /// What a client shows.
    pub fn client(&self) -> PathBuf {
        self.path("client.pem")
    }

    /// The client's private key (PKCS #8).
    pub fn client_key(&self) -> PathBuf {
        self.path("client.key")
    }

    /// The lines of a server's configuration.
    pub fn of_redis(&self) -> String {
        let [authority, server, key] =
            ["authority.pem", "server.pem", "server.key"].map(|name| self.path(name).display().to_string());
        format!(
            "tls-ca-cert-file {authority}\ntls-cert-file {server}\ntls-key-file {key}\ntls-auth-clients yes\n"
        )
    }
}
