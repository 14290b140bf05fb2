//! Asking the running service whether it is alive, from an image without a shell.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http::Uri;
use http::uri::PathAndQuery;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::secured::secured;
use crate::config;
use crate::exit::Failure;

/// Below the second that probes usually allow.
const LIMIT: Duration = Duration::from_millis(900);

/// The status line is in the first bytes; nothing else is read.
const STATUS_LINE: usize = "HTTP/1.1 200".len();

/// What to ask, and how.
pub struct Probe {
    url: String,
    /// How the port speaks TLS, where it is our own; its certificate is shown if one is asked for.
    tls: Option<config::Tls>,
}

impl Probe {
    /// Asks this URL.
    pub fn of(url: String) -> Self {
        Self { url, tls: None }
    }

    /// `/livez` of the management port, as it can be reached from this machine.
    pub(super) fn own(server: &config::Server) -> Result<Self, Failure> {
        let address = server.management_listen;
        let ip = match address.ip() {
            ip if !ip.is_unspecified() => ip,
            ip if ip.is_ipv4() => Ipv4Addr::LOCALHOST.into(),
            _ => Ipv6Addr::LOCALHOST.into(),
        };
        if address.port() == 0 {
            let reason = "server.management_listen has no fixed port: give --url";
            return Err(Failure::Unhealthy(reason.into()));
        }
        let scheme = if server.management_tls.pair().is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}/livez", SocketAddr::new(ip, address.port()));
        Ok(Self { url, tls: Some(server.management_tls.clone()) })
    }

    /// Fails unless the service answers 200 in time.
    pub async fn healthcheck(&self) -> Result<(), Failure> {
        let url = &self.url;
        let answer = timeout(LIMIT, self.status()).await;
        match answer {
            Ok(Ok(status)) if status == "200" => Ok(()),
            Ok(Ok(status)) => Err(Failure::Unhealthy(format!("{url} answered {status}"))),
            Ok(Err(reason)) => Err(Failure::Unhealthy(format!("{url}: {reason}"))),
            Err(_) => Err(Failure::Unhealthy(format!("{url} did not answer within {LIMIT:?}"))),
        }
    }

    async fn status(&self) -> Result<String, String> {
        let url: Uri = self.url.parse().map_err(|_| "this is not a URL")?;
        let port = match url.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => return Err("only http://host:port/path and https://host:port/path can be asked".into()),
        };
        let authority = url.authority().ok_or("this is not a URL")?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let exchange = async {
            let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(port))).await?;
            match port {
                443 => asked(secured(stream, host, self.tls.as_ref()).await?, &url).await,
                _ => asked(stream, &url).await,
            }
        };
        let answer = exchange.await.map_err(|error| error.to_string())?;
        let answer = String::from_utf8_lossy(&answer);
        answer.strip_prefix("HTTP/1.1 ").map(str::to_owned).ok_or_else(|| "this is not HTTP/1.1".into())
    }
}

/// How the answer begins.
async fn asked(mut stream: impl AsyncRead + AsyncWrite + Unpin, url: &Uri) -> io::Result<[u8; STATUS_LINE]> {
    let path = url.path_and_query().map_or("/", PathAndQuery::as_str);
    let host = url.authority().map_or("", |authority| authority.as_str());
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; STATUS_LINE];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
