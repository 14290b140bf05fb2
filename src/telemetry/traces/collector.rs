//! The collector that spans are sent to: one request per batch, over HTTP or gRPC.
//!
//! gRPC's unary call is a POST over HTTP/2 with five bytes before the message and a status in the trailers
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>): not worth a second HTTP stack beside the one that
//! talks to models.

use std::io::Write as _;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use flate2::Compression as Effort;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, TE};
use http_body_util::{BodyExt as _, Limited};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;

use super::StartError;
use crate::config::{Compression, Protocol, Tracing};

const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// What stands before a gRPC message: whether it is compressed, and its length in four bytes.
const GRPC_PREFIX: usize = 5;

/// More than any right answer has.
const MAX_ANSWER: usize = 64 * 1024;

/// How long connecting may take; the whole attempt has its own bound.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where spans are sent.
#[derive(Debug)]
pub(super) struct Collector {
    http: reqwest::Client,
    url: String,
    headers: HeaderMap,
    protocol: Protocol,
    gzip: bool,
}

/// A batch was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// It may be later.
    #[error("the collector does not take spans now: {why}")]
    Later { why: String, after: Option<Duration> },
    /// It never will be.
    #[error("the collector refused spans: {0}")]
    Refused(String),
}

impl Collector {
    /// The collector at `url`. Opens no connection.
    pub fn new(url: String, settings: &Tracing) -> Result<Self, StartError> {
        let mut headers = HeaderMap::new();
        for (name, value) in settings.header_pairs().unwrap_or_default() {
            let name = HeaderName::try_from(name).map_err(|_| StartError::Headers)?;
            let mut value = HeaderValue::try_from(value).map_err(|_| StartError::Headers)?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let (url, kind) = match settings.protocol {
            Protocol::Http => (url, "application/x-protobuf"),
            Protocol::Grpc => (format!("{}{GRPC_PATH}", url.trim_end_matches('/')), "application/grpc"),
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let gzip = settings.compression == Compression::Gzip;
        if gzip {
            let name = if settings.protocol == Protocol::Grpc { GRPC_ENCODING } else { CONTENT_ENCODING };
            headers.insert(name, HeaderValue::from_static("gzip"));
        }
        if settings.protocol == Protocol::Grpc {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        Ok(Self { http: client(settings)?, url, headers, protocol: settings.protocol, gzip })
    }

    /// Sends one batch, in one attempt; how many of its spans the collector rejected.
    pub async fn send(&self, batch: &ExportTraceServiceRequest) -> Result<usize, SendError> {
        let body = self.body(&batch.encode_to_vec());
        let request = self.http.post(&self.url).headers(self.headers.clone()).body(body);
        let response = request.send().await.map_err(broken)?;
        let answer = Answer::read(response).await?;
        let message = match self.protocol {
            Protocol::Http => answer.over_http()?,
            Protocol::Grpc => answer.over_grpc()?,
        };
        let response = ExportTraceServiceResponse::decode(message).unwrap_or_default();
        let rejected = response.partial_success.map_or(0, |part| part.rejected_spans);
        Ok(usize::try_from(rejected).unwrap_or_default())
    }

    fn body(&self, message: &[u8]) -> Bytes {
        let message = if self.gzip { compressed(message) } else { message.to_vec() };
        if self.protocol == Protocol::Http {
            return message.into();
        }
        let mut body = BytesMut::with_capacity(GRPC_PREFIX + message.len());
        body.put_u8(self.gzip.into());
        body.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
        body.put_slice(&message);
        body.freeze()
    }
}

/// No proxy and no redirects: what is sent goes where the operator said.
fn client(settings: &Tracing) -> Result<reqwest::Client, StartError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("polylogue/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    if settings.protocol == Protocol::Grpc {
        builder = builder.http2_prior_knowledge();
    }
    if let Some(file) = &settings.ca_file {
        let pem = std::fs::read(file).map_err(StartError::CaFile)?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(StartError::Client)?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(StartError::Client)
}

fn compressed(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(message.len() / 4), Effort::fast());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(message);
    encoder.finish().unwrap_or_default()
}

/// Never with the address, which may hold a key.
fn broken(error: reqwest::Error) -> SendError {
    let error = error.without_url();
    SendError::Later { why: crate::telemetry::Chain(&error).to_string(), after: None }
}

/// What the collector said.
struct Answer {
    status: u16,
    headers: HeaderMap,
    trailers: HeaderMap,
    body: Bytes,
}

impl Answer {
    async fn read(response: reqwest::Response) -> Result<Self, SendError> {
        let (parts, body) = http::Response::from(response).into_parts();
        let whole = Limited::new(body, MAX_ANSWER).collect().await;
        let whole = whole.map_err(|error| SendError::Later { why: error.to_string(), after: None })?;
        let trailers = whole.trailers().cloned().unwrap_or_default();
        Ok(Self { status: parts.status.as_u16(), headers: parts.headers, trailers, body: whole.to_bytes() })
    }

    /// Which answers are worth another attempt is the protocol's word (OTLP/HTTP, "Retryable Response Codes").
    fn over_http(self) -> Result<Bytes, SendError> {
        match self.status {
            200..=299 => Ok(self.body),
            429 | 502 | 503 | 504 => {
                let after = self.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                let after = after.map(Duration::from_secs);
                Err(SendError::Later { why: format!("status {}", self.status), after })
            }
            status => Err(SendError::Refused(format!("status {status}"))),
        }
    }

    /// An error without a message has its status in the headers.
    fn over_grpc(self) -> Result<Bytes, SendError> {
        if self.status != 200 {
            return self.over_http();
        }
        let status = self.trailers.get(GRPC_STATUS).or_else(|| self.headers.get(GRPC_STATUS));
        let status = status.and_then(|status| status.to_str().ok());
        match status {
            Some("0") => Ok(self.body.slice(GRPC_PREFIX.min(self.body.len())..)),
            // Cancelled, deadline exceeded, resource exhausted, aborted, out of range, unavailable, data loss.
            Some("1" | "4" | "8" | "10" | "11" | "14" | "15") | None => {
                let why = format!("gRPC status {}", status.unwrap_or("missing"));
                Err(SendError::Later { why, after: None })
            }
            Some(status) => Err(SendError::Refused(format!("gRPC status {status}"))),
        }
    }
}
