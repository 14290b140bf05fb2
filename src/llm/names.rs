//! Names of upstreams, each looked up once for all connections that want it at the same time.
//!
//! A burst of turns opens many connections, and on Kubernetes one lookup is up to ten questions (`ndots:5`). Asked for
//! each connection, they fill the queue of a DNS server, and one lost question costs the 5 s after which libc asks again:
//! as long as `llm.connect_timeout`.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

/// An answer is used for so long without a question.
const FRESH: Duration = Duration::from_secs(5);
/// While a name cannot be looked up, its last answer is used for so long. Whether the right one is still behind an
/// address is for TLS to say.
const USABLE: Duration = Duration::from_secs(600);
/// How long a connection waits for a new answer that could use the last one.
const PATIENCE: Duration = Duration::from_secs(1);
/// What has no answer by then has none; libc could ask on for minutes.
const DEADLINE: Duration = Duration::from_secs(30);

type Addresses = Arc<[SocketAddr]>;
type Answer = Result<Addresses, Arc<io::Error>>;
type Lookup = Arc<dyn Fn(Arc<str>) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// The resolver of the one HTTP client. It knows as many names as the settings have.
pub(super) struct Names {
    lookup: Lookup,
    known: Mutex<HashMap<Arc<str>, Arc<Host>>>,
}

struct Host {
    name: Arc<str>,
    lookup: Lookup,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: Option<(Instant, Addresses)>,
    asking: Option<Shared<BoxFuture<'static, Answer>>>,
    is_failing: bool,
    lookups: JoinSet<()>,
}

impl Names {
    /// Looks names up as the system does.
    pub(super) fn of_the_system() -> Self {
        Self::new(|name| async move { Ok(tokio::net::lookup_host((&*name, 0)).await?.collect()) })
    }

    fn new<F>(lookup: impl Fn(Arc<str>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        Self { lookup: Arc::new(move |name| lookup(name).boxed()), known: Mutex::default() }
    }

    fn host(&self, name: &str) -> Arc<Host> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = known.get(name) {
            return host.clone();
        }
        let name: Arc<str> = name.into();
        let host =
            Arc::new(Host { name: name.clone(), lookup: self.lookup.clone(), state: Mutex::default() });
        known.insert(name, host.clone());
        host
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let host = self.host(name.as_str());
        Box::pin(async move {
            let addresses = host.addresses().await?.to_vec();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

impl Host {
    /// The name's addresses, from an answer not older than [`FRESH`] where one can be had.
    async fn addresses(self: Arc<Self>) -> Answer {
        let (last, asking) = {
            let mut state = self.state();
            if let Some((_, fresh)) = state.last.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
                return Ok(fresh.clone());
            }
            let last = state.last.clone().filter(|(at, _)| at.elapsed() < USABLE);
            let State { asking, lookups, .. } = &mut *state;
            (last, asking.get_or_insert_with(|| self.clone().ask(lookups)).clone())
        };
        let Some((_, last)) = last else { return asking.await };
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(_)) | Err(_) => Ok(last),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks in a task of its own, for at most [`DEADLINE`]: who wanted the answer first may be gone before it comes.
    fn ask(self: Arc<Self>, lookups: &mut JoinSet<()>) -> Shared<BoxFuture<'static, Answer>> {
        while lookups.try_join_next().is_some() {}
        let (tell, told) = oneshot::channel();
        lookups.spawn(async move {
            let found = tokio::time::timeout(DEADLINE, (self.lookup)(self.name.clone())).await;
            // Nobody may be waiting any more; the answer is kept all the same.
            let _ = tell.send(self.take(found.unwrap_or_else(|late| Err(late.into()))));
        });
        told.map(|told| told.unwrap_or_else(|gone| Err(Arc::new(io::Error::other(gone))))).boxed().shared()
    }

    fn take(&self, found: io::Result<Vec<SocketAddr>>) -> Answer {
        let found = found.and_then(|addresses| match addresses.is_empty() {
            true => Err(io::Error::other("no address")),
            false => Ok(Addresses::from(addresses)),
        });
        let mut state = self.state();
        state.asking = None;
        let was_failing = std::mem::replace(&mut state.is_failing, found.is_err());
        match &found {
            Ok(addresses) => state.last = Some((Instant::now(), addresses.clone())),
            Err(error) if !was_failing => {
                warn!(event = "name_lookup_failed", name = &*self.name, %error, "a model's name has no address");
            }
            Err(_) => {}
        }
        if was_failing && found.is_ok() {
            info!(event = "name_lookup_recovered", name = &*self.name, "a model's name has an address again");
        }
        found.map_err(Arc::new)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use futures_util::future::join_all;

    use super::*;

    const HOST: &str = "model.example";

    /// Names whose lookups do what `answer` says, and how many there were.
    fn names<F>(answer: impl Fn(usize) -> F + Send + Sync + 'static) -> (Names, Arc<AtomicUsize>)
    where
        F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        (Names::new(move |_| answer(count.fetch_add(1, Relaxed))), asked)
    }

    fn address(last: usize) -> SocketAddr {
        format!("10.0.0.{last}:0").parse().unwrap()
    }

    async fn found(names: &Names) -> Result<Vec<SocketAddr>, String> {
        let found = names.resolve(HOST.parse().unwrap()).await;
        found.map(Iterator::collect).map_err(|error| error.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn many_at_once_are_one_question() {
        let (names, asked) = names(|number| async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok(vec![address(number)])
        });
        let all = join_all((0..100).map(|_| found(&names))).await;
        assert!(all.iter().all(|found| found == &Ok(vec![address(0)])), "{all:?}");
        assert_eq!(asked.load(Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_asked_for_again_once_it_is_old() {
        let (names, asked) = names(|number| async move { Ok(vec![address(number)]) });
        assert_eq!(found(&names).await, Ok(vec![address(0)]));
        tokio::time::advance(FRESH - Duration::from_millis(1)).await;
        assert_eq!(found(&names).await, Ok(vec![address(0)]));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(found(&names).await, Ok(vec![address(1)]));
        assert_eq!(asked.load(Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_answer_serves_while_there_is_no_new_one() {
        let (names, _) = names(|number| async move {
            match number {
                0 => Ok(vec![address(0)]),
                1 => Err(io::Error::other("no server")),
                2 => std::future::pending().await,
                _ => Ok(vec![]),
            }
        });
        for _ in 0..4 {
            assert_eq!(found(&names).await, Ok(vec![address(0)]));
            tokio::time::advance(DEADLINE + FRESH).await;
        }
        tokio::time::advance(USABLE).await;
        assert_eq!(found(&names).await, Err("no address".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_asked_first_may_go_and_the_answer_still_comes() {
        let (names, asked) = names(|number| async move {
            tokio::time::sleep(Duration::from_secs(6)).await;
            Ok(vec![address(number)])
        });
        tokio::time::timeout(Duration::from_secs(5), found(&names)).await.unwrap_err();
        assert_eq!(found(&names).await, Ok(vec![address(0)]));
        assert_eq!(asked.load(Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_is_not_remembered() {
        let (names, _) = names(|number| async move {
            if number == 0 { Err(io::Error::other("no such name")) } else { Ok(vec![address(number)]) }
        });
        assert_eq!(found(&names).await, Err("no such name".to_owned()));
        assert_eq!(found(&names).await, Ok(vec![address(1)]));
    }

    #[tokio::test]
    async fn the_system_knows_this_machine() {
        let names = Names::of_the_system();
        let found: Vec<_> = names.resolve("localhost".parse().unwrap()).await.unwrap().collect();
        assert!(found.iter().all(|address| address.ip().is_loopback()) && !found.is_empty(), "{found:?}");
    }
}
