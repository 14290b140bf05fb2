//! Sockets that are open and say nothing: what they cost, and whether they stay.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::dial::Dialer;
use crate::fault::{BROKEN, Fault, TIMEOUT};
use crate::socket::{Frame, Socket};
use crate::target::Target;

/// Sockets that are being opened at once.
const OPENING: usize = 64;
/// How long the upgrade and `hello` may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);

/// What became of the idle sockets.
#[derive(Clone, Debug, Default, Serialize)]
pub struct IdleCounts {
    /// How many were asked for.
    pub wanted: u64,
    /// How many are open.
    pub open: u64,
    /// Pings of the server that were answered.
    pub pings: u64,
    /// Those that could not be opened, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Those that were closed by the other side, by reason.
    pub lost: BTreeMap<String, u64>,
    /// How long it took to open them all.
    pub opened_in_seconds: f64,
}

#[derive(Default)]
struct State {
    open: AtomicU64,
    pings: AtomicU64,
    refused: Mutex<BTreeMap<String, u64>>,
    lost: Mutex<BTreeMap<String, u64>>,
}

/// Open sockets, each read by its own task. They are closed when this is dropped.
pub struct IdleSockets {
    wanted: u64,
    opened_in: Duration,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

impl IdleSockets {
    /// Opens so many, spread over the targets, and waits until each is open or refused.
    pub async fn open(count: u64, dialer: &Dialer, targets: &[Target], token: Option<&HeaderValue>) -> Self {
        let begin = std::time::Instant::now();
        let state = Arc::new(State::default());
        let mut tasks = JoinSet::new();
        let opening = Arc::new(Semaphore::new(OPENING));
        for target in targets.iter().cycle().take(usize::try_from(count).unwrap_or(usize::MAX)) {
            let Ok(place) = opening.clone().acquire_owned().await else { break };
            let (dialer, target, token) = (dialer.clone(), target.clone(), token.cloned());
            let state = state.clone();
            tasks.spawn(async move {
                let opened = timeout(OPEN_TIMEOUT, greeted(&dialer, &target, token.as_ref())).await;
                match opened.unwrap_or(Err(TIMEOUT)) {
                    Ok(socket) => {
                        state.open.fetch_add(1, Ordering::Relaxed);
                        drop(place);
                        keep(socket, &state).await;
                    }
                    Err(fault) => count_one(&state.refused, fault.kind.into_owned()),
                }
            });
        }
        // All places are free again when nobody opens any more.
        drop(opening.acquire_many(u32::try_from(OPENING).unwrap_or(u32::MAX)).await);
        Self { wanted: count, opened_in: begin.elapsed(), state, _tasks: tasks }
    }

    /// How they are.
    pub fn counts(&self) -> IdleCounts {
        let map =
            |map: &Mutex<BTreeMap<String, u64>>| map.lock().unwrap_or_else(PoisonError::into_inner).clone();
        IdleCounts {
            wanted: self.wanted,
            open: self.state.open.load(Ordering::Relaxed),
            pings: self.state.pings.load(Ordering::Relaxed),
            refused: map(&self.state.refused),
            lost: map(&self.state.lost),
            opened_in_seconds: (self.opened_in.as_secs_f64() * 1_000.0).round() / 1_000.0,
        }
    }
}

async fn greeted(dialer: &Dialer, target: &Target, token: Option<&HeaderValue>) -> Result<Socket, Fault> {
    let mut socket = Socket::open(dialer, target, token).await?;
    match socket.next().await? {
        Frame::Text(hello) if hello.contains("\"hello\"") => Ok(socket),
        Frame::Closed(code) => Err(Fault { kind: format!("closed_{code}").into(), ..BROKEN }),
        Frame::Text(_) | Frame::Ping => Err(Fault::of("no_hello")),
    }
}

async fn keep(mut socket: Socket, state: &State) {
    let reason = loop {
        match socket.next().await {
            Ok(Frame::Ping) => {
                state.pings.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Frame::Text(_)) => {}
            Ok(Frame::Closed(code)) => break format!("closed_{code}"),
            Err(fault) => break fault.kind.into_owned(),
        }
    };
    state.open.fetch_sub(1, Ordering::Relaxed);
    count_one(&state.lost, reason);
}

fn count_one(map: &Mutex<BTreeMap<String, u64>>, name: String) {
    *map.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
}
