//! A network that fails on command, between a client and one server.

mod connection;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::connection::Connection;
use super::super::ports;

/// What happens to what passes. Connections keep their place through a change.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Mode {
    /// Nothing.
    #[default]
    Pass,
    /// Everything arrives this much later, and up to so much more.
    Delay { by: Duration, jitter: Duration },
    /// No more bytes in a second, each way.
    Throttle { bytes_per_second: u32 },
    /// New connections are refused, as if nobody listened; open ones go on.
    Refuse,
    /// Connections are accepted and nothing passes; what was sent meanwhile arrives afterwards.
    Blackhole,
    /// Commands arrive and are executed; answers wait.
    Mute,
    /// The next answer ends after so many bytes, and its connection with it: the command was executed. Once.
    CutNextAnswer { after: usize },
    /// The same to the answer of the next command that contains this text.
    CutAnswerTo { part: String },
    /// Each command but those that open a connection is answered with this error, `READONLY …`, and not executed.
    Say(String),
}

/// What all connections share.
#[derive(Default)]
struct Shared {
    mode: watch::Sender<Mode>,
    /// How often all connections were cut.
    cuts: watch::Sender<u64>,
    commands: Mutex<BTreeMap<String, u64>>,
}

/// A proxy in front of an address; gone when dropped.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    #[expect(dead_code, reason = "they end when it is dropped")]
    tasks: JoinSet<()>,
}

impl Proxy {
    /// Listens on a port of its own for connections to this address.
    pub async fn to(address: &str) -> Self {
        let shared = Arc::<Shared>::default();
        let (port, listener) = loop {
            let port = ports::free();
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
                break (port, listener);
            }
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(port, listener, address.to_owned(), Arc::clone(&shared)));
        Self { port, shared, tasks }
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Does this from now on.
    pub fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// What it does; `Pass` again after what happens once.
    pub fn mode(&self) -> Mode {
        self.shared.mode.borrow().clone()
    }

    /// Cuts every open connection.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// How many commands of this name came, `EVALSHA` for example.
    pub fn commands(&self, name: &str) -> u64 {
        self.shared.commands.lock().unwrap().get(name).copied().unwrap_or_default()
    }

    /// How many commands came.
    pub fn all_commands(&self) -> u64 {
        self.shared.commands.lock().unwrap().values().sum()
    }
}

/// Accepts until its task is aborted. A port that refuses is one nobody listens on.
async fn serve(port: u16, listener: TcpListener, address: String, shared: Arc<Shared>) {
    let mut listener = Some(listener);
    let mut mode = shared.mode.subscribe();
    let mut connections = JoinSet::new();
    loop {
        let refuses = *mode.borrow_and_update() == Mode::Refuse;
        if refuses {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(("127.0.0.1", port)).await.ok();
        }
        let accept = async {
            match &listener {
                Some(listener) => listener.accept().await.map(|(client, _)| client),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            client = accept => drop(client.map(|client| connections.spawn(connect(client, address.clone(), Arc::clone(&shared))))),
            changed = mode.changed() => if changed.is_err() { return },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection until an end closes it or it is cut. A server that cannot be reached closes it at once.
async fn connect(client: TcpStream, address: String, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.subscribe();
    let pass = async {
        let server = TcpStream::connect(address).await?;
        Connection::new(Arc::clone(&shared)).pass(client, server).await
    };
    tokio::select! {
        _ = pass => {}
        _ = cuts.changed() => {}
    }
}
