//! The settings, section by section; `config/default.toml` explains each.
#![expect(missing_docs, reason = "config/default.toml is the reference: it explains every key, once")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::auth::Auth;
use super::origin::AllowedOrigin;
use super::tracing::Tracing;
use super::values::{Bytes, KeyPrefix, PublicUrl, Span, empty_if_none, none_if_empty};

/// Everything the operator may say, checked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub cors: Cors,
    pub auth: Auth,
    pub redis: Redis,
    pub memory: Memory,
    pub websocket: WebSocket,
    pub limits: Limits,
    pub llm: Llm,
    pub turns: Turns,
    pub routing: Routing,
    pub simulator: Simulator,
    pub personas: Personas,
    pub flags: Flags,
    pub telemetry: Telemetry,
    pub tracing: Tracing,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub listen: SocketAddr,
    pub management_listen: SocketAddr,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "hidden")]
    pub management_token: Option<SecretString>,
    pub trusted_proxies: Vec<IpNet>,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub public_url: Option<PublicUrl>,
    pub proxy_protocol: bool,
    pub header_timeout: Span,
    pub keep_alive_timeout: Span,
    pub body_timeout: Span,
    pub max_body: Bytes,
    pub max_connections: NonZeroUsize,
    pub max_connections_per_address: usize,
    pub sse_keep_alive: Span,
    pub slow_reader_timeout: Span,
    pub drain_delay: Span,
    pub grace: Span,
    pub close_spread: Span,
    pub hsts_max_age: Span,
    pub tls: Tls,
    pub management_tls: Tls,
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    None,
    Optional,
    Required,
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    #[serde(rename = "1.2")]
    V1_2,
    #[serde(rename = "1.3")]
    V1_3,
}

/// How a port speaks TLS, if it does.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub cert_file: Option<PathBuf>,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub key_file: Option<PathBuf>,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub client_ca_file: Option<PathBuf>,
    pub client_auth: ClientAuth,
    pub min_version: TlsVersion,
}

/// Where a certificate and its private key are.
#[derive(Clone, Copy, Debug)]
pub struct TlsPair<'a> {
    pub certificate: &'a Path,
    pub key: &'a Path,
}

impl Tls {
    /// Where the certificate is; `None` where TLS is not spoken.
    pub fn pair(&self) -> Option<TlsPair<'_>> {
        let (certificate, key) = (self.cert_file.as_deref()?, self.key_file.as_deref()?);
        Some(TlsPair { certificate, key })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cors {
    pub allowed_origins: Vec<AllowedOrigin>,
    pub allow_credentials: bool,
    pub max_age: Span,
}

/// How `redis.hosts` are to be understood; a URL says it by its scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RedisMode {
    Standalone,
    Sentinel,
    Cluster,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    #[serde(deserialize_with = "none_if_empty", serialize_with = "hidden")]
    pub url: Option<SecretString>,
    pub mode: RedisMode,
    pub hosts: Vec<String>,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub primary: Option<String>,
    pub database: u16,
    pub tls: bool,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub username: Option<String>,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "hidden")]
    pub password: Option<SecretString>,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub sentinel_username: Option<String>,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "hidden")]
    pub sentinel_password: Option<SecretString>,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub ca_file: Option<PathBuf>,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub cert_file: Option<PathBuf>,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub key_file: Option<PathBuf>,
    pub key_prefix: KeyPrefix,
    pub pool_size: NonZeroUsize,
    pub connect_timeout: Span,
    pub timeout: Span,
    pub limit_timeout: Span,
    pub slow_command: Span,
    pub retry: Retry,
    pub breaker: Breaker,
}

/// Attempts in all, the first wait between two (it doubles), and the longest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    pub attempts: NonZeroU32,
    pub wait: Span,
    pub max_wait: Span,
}

/// Consecutive faults that open a circuit, and how long it stays open before its one probe.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breaker {
    pub failures: NonZeroU32,
    pub recovery: Span,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    pub use_redis: bool,
    pub ttl: Span,
    pub max_messages: NonZeroUsize,
    pub max_conversations: NonZeroUsize,
    pub max_bytes: Bytes,
}

/// What happens to one socket more than a caller may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    Refuse,
    ReplaceOldest,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebSocket {
    pub max_per_client: NonZeroUsize,
    pub when_full: WhenFull,
    pub max_total: NonZeroUsize,
    pub idle_ttl: Span,
    pub heartbeat_interval: Span,
    pub heartbeat_timeout: Span,
    pub cleanup_interval: Span,
    pub max_frames_per_second: NonZeroU32,
}

/// Whose requests a policy counts together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    #[default]
    Ip,
    Principal,
    Conversation,
    Global,
}

/// How a policy counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    #[default]
    FixedWindow,
    Gcra,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    pub quota: NonZeroU32,
    pub window: Span,
    #[serde(default)]
    pub scope: Scope,
    #[serde(default)]
    pub strategy: Strategy,
}

/// Policies by name, and which of them an operation (`POST /api/v1/chat`) asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub routes: BTreeMap<String, Vec<String>>,
    pub policies: BTreeMap<String, Policy>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    pub name: String,
    pub base_url: String,
    #[serde(default, deserialize_with = "none_if_empty", serialize_with = "hidden")]
    pub api_key: Option<SecretString>,
    #[serde(default, deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub model: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Llm {
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub base_url: Option<String>,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "hidden")]
    pub api_key: Option<SecretString>,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub model: Option<String>,
    pub connect_timeout: Span,
    pub timeout: Span,
    pub first_token_timeout: Span,
    pub token_gap_timeout: Span,
    pub pool_size: NonZeroUsize,
    pub retry: Retry,
    pub breaker: Breaker,
    pub upstreams: Vec<Upstream>,
}

/// What happens to a turn whose last reader left by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDisconnect {
    Continue,
    Cancel,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turns {
    pub deadline: Span,
    pub on_disconnect: OnDisconnect,
    pub max_concurrent: NonZeroUsize,
    pub max_delay: Span,
    pub max_per_socket: NonZeroUsize,
    pub max_personas: NonZeroUsize,
    pub retention: Span,
    pub lease: Span,
    pub beat: Span,
    pub max_takeovers: u32,
    pub max_events: NonZeroUsize,
    pub max_bytes: Bytes,
    pub flush_interval: Span,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routing {
    pub timeout: Span,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub model: Option<String>,
    pub cache_size: NonZeroUsize,
    pub cache_ttl: Span,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Simulator {
    pub listen: SocketAddr,
    pub time_to_first_token: Span,
    pub token_gap: Span,
    pub tokens: NonZeroU32,
    pub error_rate: f64,
    pub seed: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Personas {
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub file: Option<PathBuf>,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub default: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flags {
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub file: Option<PathBuf>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Auto,
    Json,
    Human,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    pub log_format: LogFormat,
    pub log_filter: String,
}

/// A secret is shown as set or not set, never itself.
pub(super) fn hidden<S: serde::Serializer>(
    secret: &Option<SecretString>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if secret.is_some() { super::secret::HIDDEN } else { "" })
}
