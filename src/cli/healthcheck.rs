//! Asking the running service whether it is alive, from an image without a shell.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config;
use crate::exit::Failure;

/// Below the second that probes usually allow.
const LIMIT: Duration = Duration::from_millis(900);

/// The status line is in the first bytes; nothing else is read.
const STATUS_LINE: usize = "HTTP/1.1 200".len();

/// `/livez` of the management port, as it can be reached from this machine.
pub(super) fn own_url(server: &config::Server) -> Result<String, Failure> {
    let address = server.management_listen;
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        ip if ip.is_ipv4() => Ipv4Addr::LOCALHOST.into(),
        _ => Ipv6Addr::LOCALHOST.into(),
    };
    match address.port() {
        0 => Err(Failure::Unhealthy("server.management_listen has no fixed port: give --url".into())),
        port => Ok(format!("http://{}/livez", SocketAddr::new(ip, port))),
    }
}

/// Fails unless the service answers 200 in time.
pub async fn healthcheck(url: &str) -> Result<(), Failure> {
    let answer = timeout(LIMIT, status(url)).await;
    match answer {
        Ok(Ok(status)) if status == "200" => Ok(()),
        Ok(Ok(status)) => Err(Failure::Unhealthy(format!("{url} answered {status}"))),
        Ok(Err(reason)) => Err(Failure::Unhealthy(format!("{url}: {reason}"))),
        Err(_) => Err(Failure::Unhealthy(format!("{url} did not answer within {LIMIT:?}"))),
    }
}

async fn status(url: &str) -> Result<String, String> {
    let url: http::Uri = url.parse().map_err(|_| "this is not a URL")?;
    let (Some("http"), Some(authority)) = (url.scheme_str(), url.authority()) else {
        return Err("only http://host:port/path can be asked".into());
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let path = url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");

    let mut answer = [0; STATUS_LINE];
    let exchange = async {
        let mut stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await?;
        stream.write_all(request.as_bytes()).await?;
        stream.read_exact(&mut answer).await
    };
    exchange.await.map_err(|error| error.to_string())?;
    let answer = String::from_utf8_lossy(&answer);
    answer.strip_prefix("HTTP/1.1 ").map(str::to_owned).ok_or_else(|| "this is not HTTP/1.1".into())
}
