//! A collector of the test's own that speaks OTLP, over HTTP or gRPC, and can be slow, wrong or silent.

mod received;
mod tree;

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use poem::endpoint::make;
use poem::http::{HeaderMap, StatusCode};
use poem::listener::{Acceptor as _, Listener as _, TcpListener};
use poem::{Request, Response};
use prost::Message as _;
pub use received::Span;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::codec::CompressionEncoding;
pub use tree::tree;

/// How the collector behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// Takes what comes.
    #[default]
    Takes,
    /// Answers every batch with this status.
    Says(u16),
    /// Takes so many of every batch's spans less.
    Rejects(i64),
    /// Never answers.
    IsSilent,
}

/// What has come so far.
#[derive(Default)]
struct Heard {
    spans: Vec<Span>,
    batches: Vec<HeaderMap>,
    manner: Manner,
}

/// A collector; gone when dropped.
pub struct Collector {
    pub address: String,
    is_grpc: bool,
    heard: Arc<watch::Sender<Heard>>,
    #[expect(dead_code, reason = "it ends when it is dropped")]
    serving: JoinSet<()>,
}

impl Collector {
    /// One that speaks OTLP over HTTP.
    pub async fn http() -> Self {
        let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.unwrap();
        let address = acceptor.local_addr()[0].to_string().replace("socket://", "");
        let heard = Arc::<watch::Sender<Heard>>::default();
        let taker = Arc::clone(&heard);
        let endpoint = make(move |request| {
            let taker = Arc::clone(&taker);
            async move { take_http(&taker, request).await }
        });
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            poem::Server::new_with_acceptor(acceptor).run(endpoint).await.unwrap();
        });
        Self { address, is_grpc: false, heard, serving }
    }

    /// One that speaks OTLP over gRPC, as tonic does.
    pub async fn grpc() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heard = Arc::<watch::Sender<Heard>>::default();
        let service =
            TraceServiceServer::new(Grpc(Arc::clone(&heard))).accept_compressed(CompressionEncoding::Gzip);
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let server = tonic::transport::Server::builder().add_service(service);
            server.serve_with_incoming(incoming).await.unwrap();
        });
        Self { address, is_grpc: true, heard, serving }
    }

    /// Whether it speaks gRPC.
    pub fn is_grpc(&self) -> bool {
        self.is_grpc
    }

    /// Behaves so from now on.
    pub fn behaves(&self, manner: Manner) {
        self.heard.send_modify(|heard| heard.manner = manner);
    }

    /// What has come so far.
    pub fn spans(&self) -> Vec<Span> {
        self.heard.borrow().spans.clone()
    }

    /// The headers of each batch that came.
    pub fn batches(&self) -> Vec<HeaderMap> {
        self.heard.borrow().batches.clone()
    }

    /// Waits until what has come is enough, for at most twenty seconds, and returns it.
    pub async fn until(&self, claim: &str, is_enough: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let mut heard = self.heard.subscribe();
        let waiting =
            async { heard.wait_for(|heard| is_enough(&heard.spans)).await.map(|it| it.spans.clone()) };
        match timeout(Duration::from_secs(20), waiting).await {
            Ok(spans) => spans.unwrap(),
            Err(_) => panic!("never so: {claim}; there are\n{}", tree(&self.spans())),
        }
    }

    /// Waits until a span of this name has come, and returns it.
    pub async fn span(&self, name: &str) -> Span {
        let spans = self.until(name, |spans| spans.iter().any(|span| span.name == name)).await;
        spans.into_iter().find(|span| span.name == name).unwrap()
    }
}

/// Takes a batch in, or says with which status it is refused; never answers if the collector is silent.
async fn take(
    heard: &watch::Sender<Heard>,
    headers: HeaderMap,
    batch: ExportTraceServiceRequest,
) -> Result<ExportTraceServiceResponse, u16> {
    let manner = heard.borrow().manner;
    heard.send_modify(|heard| heard.batches.push(headers));
    match manner {
        Manner::IsSilent => std::future::pending().await,
        Manner::Says(status) => return Err(status),
        Manner::Takes | Manner::Rejects(_) => {}
    }
    heard.send_modify(|heard| heard.spans.extend(received::spans(batch)));
    let Manner::Rejects(rejected_spans) = manner else { return Ok(ExportTraceServiceResponse::default()) };
    let partial_success =
        ExportTracePartialSuccess { rejected_spans, ..ExportTracePartialSuccess::default() };
    Ok(ExportTraceServiceResponse { partial_success: Some(partial_success) })
}

async fn take_http(heard: &watch::Sender<Heard>, mut request: Request) -> Response {
    assert_eq!(request.uri().path(), "/v1/traces");
    assert_eq!(request.content_type(), Some("application/x-protobuf"));
    let mut body = request.take_body().into_vec().await.unwrap();
    if request.header("content-encoding") == Some("gzip") {
        let mut plain = Vec::new();
        GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
        body = plain;
    }
    let batch = ExportTraceServiceRequest::decode(&body[..]).unwrap();
    match take(heard, request.headers().clone(), batch).await {
        Ok(response) => Response::builder().body(response.encode_to_vec()),
        Err(status) => Response::builder().status(StatusCode::from_u16(status).unwrap()).finish(),
    }
}

struct Grpc(Arc<watch::Sender<Heard>>);

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let (metadata, _, batch) = request.into_parts();
        let taken = take(&self.0, metadata.into_headers(), batch).await;
        taken.map(tonic::Response::new).map_err(|_| tonic::Status::unavailable("not now"))
    }
}
