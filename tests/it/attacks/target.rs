use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::process::service::Service;
use crate::support::{Client, eventually, metric};

/// Longer than any server here takes to get rid of somebody.
const PATIENCE: Duration = Duration::from_secs(20);

/// The program as a process, with its own simulator and short times, so that attacks need not last.
pub struct Target {
    pub address: SocketAddr,
    management: Client,
    pub process: u32,
    _service: Service,
}

impl Target {
    /// Starts it; limits of requests are not what is looked at here, unless `settings` say so.
    pub async fn start(settings: &[&str]) -> Self {
        let usual = [
            "limits.policies.default.quota=1000000",
            // What is refused where there is too much to do is another claim.
            "turns.max_delay=0s",
            "server.header_timeout=2s",
            "server.body_timeout=2s",
            "server.slow_reader_timeout=2s",
            "simulator.time_to_first_token=0s",
            "simulator.token_gap=0s",
            "simulator.tokens=8",
            "telemetry.log_format=json",
        ];
        let arguments: Vec<_> = usual.iter().chain(settings).flat_map(|setting| ["--set", setting]).collect();
        let mut service = Service::start(&arguments);
        let ready = service.until("application_ready").await;
        let mut lines = service.lines.take().unwrap();
        // A log that nobody reads would stop the program.
        #[expect(clippy::disallowed_methods, reason = "it ends with the program")]
        drop(tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} }));
        let management = Client::of(ready["management_listen"].as_str().unwrap());
        let address = ready["listen"].as_str().unwrap().parse().unwrap();
        Self { address, management, process: service.child.id().unwrap(), _service: service }
    }

    /// A series, as the management port shows it.
    pub async fn metric(&self, series: &str) -> f64 {
        let answer = self.management.client.get(self.management.url("/metrics")).send().await.unwrap();
        metric(&answer.text().await.unwrap(), series)
    }

    /// How many connections ended for this reason.
    pub async fn closed(&self, reason: &str) -> f64 {
        self.metric(&format!("tcp_connections_closed_total{{reason=\"{reason}\"}}")).await
    }

    /// Waits until at least so many did.
    pub async fn has_closed(&self, reason: &str, times: usize) {
        let claim = format!("{times} connections end by {reason}");
        eventually(&claim, async || self.closed(reason).await >= times as f64).await;
    }

    /// Comes from this address of loopback, with a small buffer: what it does not read is soon in the server's way.
    pub async fn attacker_from(&self, last: u8) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4096)?;
        socket.bind((Ipv4Addr::new(127, 0, 1, last), 0).into())?;
        socket.connect(self.address).await
    }

    pub async fn attacker(&self) -> TcpStream {
        self.attacker_from(1).await.unwrap()
    }

    /// Sends these bytes and returns everything that comes back until the connection ends.
    pub async fn told(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.attacker().await;
        drop(stream.write_all(bytes).await);
        read_to_end(&mut stream).await
    }
}

/// Everything up to the end of the connection, or the break.
pub async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let reading = async { while stream.read_buf(&mut all).await.is_ok_and(|read| read > 0) {} };
    timeout(PATIENCE, reading).await.expect("the server neither answers nor closes");
    all
}

/// The status of the first answer in these bytes; 0 if there is none.
pub fn status(bytes: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(bytes);
    text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0)
}
