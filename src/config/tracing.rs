//! The section `tracing`; `config/default.toml` explains it.
#![expect(missing_docs, reason = "config/default.toml is the reference: it explains every key, once")]

use std::num::NonZeroUsize;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::settings::hidden;
use super::values::{Span, empty_if_none, none_if_empty};

/// Where spans go, and which.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tracing {
    pub enabled: bool,
    pub exporter: Exporter,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub endpoint: Option<String>,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub traces_endpoint: Option<String>,
    pub protocol: Protocol,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "hidden")]
    pub headers: Option<SecretString>,
    pub compression: Compression,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub ca_file: Option<PathBuf>,
    pub timeout: Span,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub service_name: Option<String>,
    #[serde(deserialize_with = "none_if_empty", serialize_with = "empty_if_none")]
    pub resource_attributes: Option<String>,
    pub sampler: Sampler,
    pub sampler_ratio: f64,
    pub propagators: Vec<Propagator>,
    pub baggage: Vec<String>,
    pub queue_size: NonZeroUsize,
    pub batch_size: NonZeroUsize,
    pub batch_delay: Span,
    pub span_events: bool,
}

/// What takes spans away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exporter {
    Otlp,
    None,
}

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    #[serde(rename = "http/protobuf")]
    Http,
    #[serde(rename = "grpc")]
    Grpc,
}

/// How batches are made smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    None,
    Gzip,
}

/// Which traces are kept, by the names of `OTEL_TRACES_SAMPLER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampler {
    AlwaysOn,
    AlwaysOff,
    #[serde(rename = "traceidratio")]
    Ratio,
    #[serde(rename = "parentbased_always_on")]
    ParentOrOn,
    #[serde(rename = "parentbased_always_off")]
    ParentOrOff,
    #[serde(rename = "parentbased_traceidratio")]
    ParentOrRatio,
}

/// What is taken from whoever calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagator {
    TraceContext,
    Baggage,
    None,
}

impl Tracing {
    /// Where spans are sent; none if they are not.
    pub fn target(&self) -> Option<String> {
        if !self.enabled || self.exporter == Exporter::None {
            return None;
        }
        let base = self.endpoint.as_deref().map(|base| base.trim_end_matches('/'));
        match (&self.traces_endpoint, self.protocol) {
            (Some(exact), _) => Some(exact.clone()),
            (None, Protocol::Http) => base.map(|base| format!("{base}/v1/traces")),
            (None, Protocol::Grpc) => base.map(str::to_owned),
        }
    }

    /// The headers of every export, or what is wrong with them.
    pub fn header_pairs(&self) -> Result<Vec<(String, String)>, &'static str> {
        self.headers.as_ref().map_or_else(|| Ok(Vec::new()), |text| pairs(text.expose_secret()))
    }

    /// What describes this process beside what it knows itself, or what is wrong with it.
    pub fn resource_pairs(&self) -> Result<Vec<(String, String)>, &'static str> {
        self.resource_attributes.as_deref().map_or_else(|| Ok(Vec::new()), pairs)
    }
}

/// `name=value,name=value`, values percent-encoded, as the `OTEL_*` variables have it.
fn pairs(text: &str) -> Result<Vec<(String, String)>, &'static str> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let pair = |item: &str| {
        let (name, value) = item.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        Some((name.trim().to_owned(), value.into_owned())).filter(|(name, _)| !name.is_empty())
    };
    items.map(|item| pair(item).ok_or("must be written name=value,name=value")).collect()
}
