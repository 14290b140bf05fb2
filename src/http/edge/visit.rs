//! One request as operators see it: its span, its log line, its numbers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use poem::http::StatusCode;
use poem::{Body, Request, Response};
use tracing::field::Empty;
use tracing::{Span, info, info_span};

use super::effective;
use super::routes::Route;
use crate::config::Tracing;
use crate::http::Identity;
use crate::http::problem::PROBLEM_CODE;
use crate::telemetry::metrics::{Method, Metrics, Name, StatusClass};
use crate::telemetry::traces::{Incoming, TraceContext};

/// What is counted when the client left before the answer was complete (nginx's number for it).
const CLIENT_LEFT: u16 = 499;
/// The route of a path that nobody serves.
const UNMATCHED: &str = "unmatched";

/// A request from its header to its end. Dropped before [`Visit::answered`], or with its answer unfinished: the client
/// left first, because then hyper drops the handler's future or the body.
pub(super) struct Visit {
    metrics: Arc<Metrics>,
    identity: Identity,
    method: http::Method,
    counted_as: (Method, Name),
    pattern: String,
    span: Span,
    code: Option<String>,
    is_over: bool,
}

impl Visit {
    pub(super) fn begin(
        metrics: &Arc<Metrics>,
        tracing: &Tracing,
        request: &Request,
        route: Option<&Route>,
        identity: &Identity,
    ) -> Self {
        metrics.http.in_flight.add(&(), 1);
        let method = request.method().clone();
        let pattern = route.map_or(UNMATCHED, |route| &route.pattern);
        let Incoming { context, baggage } = Incoming::of(request.headers(), tracing);
        let span = info_span!(
            parent: None,
            "request",
            otel.name = %format_args!("{} {pattern}", label(&method)),
            otel.kind = "server",
            otel.parent = context.as_ref().map(TraceContext::whole),
            otel.baggage = baggage,
            otel.ended = Empty,
            polylogue.request.id = %identity.request_id,
            error.type = Empty,
            request_id = %identity.request_id,
            http.request.method = label(&method),
            http.route = pattern,
            http.response.status_code = Empty,
        );
        Self {
            metrics: metrics.clone(),
            identity: identity.clone(),
            counted_as: counted_as(&method, route),
            method,
            pattern: pattern.to_owned(),
            span,
            code: None,
            is_over: false,
        }
    }

    /// Who asks is known now.
    pub(super) fn is_from(&mut self, identity: &Identity) {
        self.identity = identity.clone();
    }

    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    /// The answer is ready. A stream or an upgrade is over with its headers (their lives are measured elsewhere), anything
    /// else with its last byte.
    pub(super) fn answered(mut self, mut response: Response) -> Response {
        let status = response.status();
        self.code = response.header(&PROBLEM_CODE).map(str::to_owned);
        let body = BoxBody::from(response.take_body());
        if is_long_lived(&response) || body.is_end_stream() {
            self.over(status.as_u16());
            response.set_body(Body::from(body));
        } else {
            response.set_body(Body::from(BoxBody::new(Measured { body, visit: self, status })));
        }
        response
    }

    fn over(&mut self, status: u16) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let took = self.identity.arrived.elapsed();
        let (method, route) = self.counted_as.clone();
        let http = &self.metrics.http;
        http.in_flight.add(&(), -1);
        http.requests.inc(&(method, route.clone(), Name::from(status.to_string().as_str())));
        http.duration.observe(&(method, route, StatusClass::from(status)), took);
        self.span.record("http.response.status_code", status);
        self.span.in_scope(|| {
            info!(
                event = "request_finished",
                method = label(&self.method),
                route = self.pattern,
                status,
                code = self.code,
                duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                client = self.identity.principal.log_name(),
                "request finished"
            );
        });
        if status >= 500 {
            self.span.record("error.type", self.code.as_deref().unwrap_or("500"));
        }
        // Turns that it began go on within it.
        self.span.record("otel.ended", true);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.over(CLIENT_LEFT);
    }
}

/// What a request is counted as: the operation it asks for, or its preflight. Whatever else comes is one thing, or
/// strangers could make as many series as there are methods and routes.
fn counted_as(method: &http::Method, route: Option<&Route>) -> (Method, Name) {
    let asked = effective(method);
    match route {
        Some(route) if route.operation(asked).is_some() || asked == http::Method::OPTIONS => {
            (Method::from(asked), route.label.clone())
        }
        Some(_) | None => (Method::Other, Name::from(UNMATCHED)),
    }
}

fn label(method: &http::Method) -> &'static str {
    use crate::telemetry::metrics::Label as _;
    let known = Method::from(method);
    Method::ALL.iter().find(|it| **it == known).map_or("_OTHER", |it| it.as_label())
}

fn is_long_lived(response: &Response) -> bool {
    let is_stream = response.content_type().is_some_and(|it| it.starts_with("text/event-stream"));
    is_stream || response.status() == StatusCode::SWITCHING_PROTOCOLS
}

/// A body that ends its visit with its last byte.
struct Measured {
    body: BoxBody<Bytes, io::Error>,
    visit: Visit,
    status: StatusCode,
}

impl HttpBody for Measured {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        // hyper does not ask again once a body says that it has ended.
        let is_last = matches!(frame, Poll::Ready(None | Some(Err(_)))) || self.body.is_end_stream();
        if is_last {
            let status = self.status.as_u16();
            self.visit.over(status);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
