//! The one HTTP client of the process.

use std::time::Duration;

use super::names::Names;
use crate::config;

/// Idle connections are closed by us after this long: below the 60 s after which many balancers drop them silently.
const POOL_IDLE: Duration = Duration::from_secs(50);
/// How often an HTTP/2 connection is asked for a sign of life while requests run on it, and how long it may take:
/// many requests share one such connection, so a dead one must be noticed well before `llm.token_gap_timeout`.
const H2_PING: Duration = Duration::from_secs(5);
const H2_PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes the pooled client that all upstreams share. It makes one attempt per call, follows no redirection (a key must
/// not travel) and reads no proxy from the environment. Deadlines of answers are the caller's: see `openai.rs`.
///
/// Fails where the system has no usable root certificates.
pub fn http_client(settings: &config::Llm) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .user_agent(concat!("polylogue/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(*settings.connect_timeout)
        .pool_max_idle_per_host(settings.pool_size.get())
        .pool_idle_timeout(POOL_IDLE)
        .tcp_nodelay(true)
        .dns_resolver(Names::of_the_system())
        .http2_keep_alive_interval(H2_PING)
        .http2_keep_alive_timeout(H2_PING_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .build()
}
