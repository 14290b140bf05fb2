//! What every request of the public port passes, in the order of [`Edge::call`].

mod browsers;
mod compress;
mod doorkeeper;
mod intake;
mod routes;
mod shed;
mod visit;

use std::net::{IpAddr, Ipv4Addr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use hyper::body::Body as _;
use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use poem::{Endpoint, IntoResponse as _, Request, Response};
use tokio::time::Instant;
use tracing::{Instrument as _, error};

use browsers::{Browsers, Visitor};
pub use browsers::{EXPOSED, TAKEN};
pub use doorkeeper::HeldPlace;
use doorkeeper::{Doorkeeper, TurnedAway};
use routes::Route;
pub use routes::RouteTable;
use shed::Shed;
pub use shed::busy;
use visit::Visit;

use super::client_address::TrustedProxies;
use super::limit_headers;
use super::probes::Probes;
use super::problem::Problem;
use super::security;
use super::{Identity, Services};
use crate::config::Config;
use crate::connections::Connections;
use crate::limits::{FAILED_AUTHENTICATION, RateLimits};
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::Metrics;
use crate::words::{ConversationId, ErrorCode, Failure, Principal, RequestId, Timestamp};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Everything between the accept loop and the routes.
pub struct Edge<E> {
    app: E,
    routes: RouteTable,
    probes: Probes,
    proxies: TrustedProxies,
    browsers: Browsers,
    doorkeeper: Doorkeeper,
    config: Arc<Config>,
    limits: Arc<RateLimits>,
    shed: Shed,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
}

impl<E: Endpoint> Endpoint for Edge<E> {
    type Output = Response;

    /// Probes → too much to do → where from → span, log line and numbers → who asks → [`Self::routed`].
    async fn call(&self, request: Request) -> poem::Result<Response> {
        if let Some(answer) = self.probes.answer(&request) {
            return Ok(security::dress(answer));
        }
        let route = self.routes.find(request.uri().path());
        let visitor = Visitor::of(&request, &self.config);
        let mut request = match self.shed.refusal(request, route).await {
            Ok(refused) => return Ok(self.browsers.tell(refused, route, &visitor)),
            Err(request) => request,
        };
        let mut identity = self.identify(&request);
        let mut visit = Visit::begin(&self.metrics, &self.config.tracing, &request, route, &identity);
        let span = visit.span();
        let answer = async {
            let admitted = self.admit(&mut request, route, &mut identity, &visitor).await;
            visit.is_from(&identity);
            request.set_data(identity.clone());
            let answer = self.finished(request, route, &identity, admitted).await;
            self.browsers.tell(answer, route, &visitor)
        };
        let response = answer.instrument(span).await;
        Ok(visit.answered(response))
    }
}

impl<E: Endpoint> Edge<E> {
    /// Puts `app`, which serves `routes`, behind the edge.
    pub fn new(app: E, routes: RouteTable, services: &Services, connections: Arc<Connections>) -> Self {
        let Services { config, auth, limits, metrics, health, shutdown, .. } = services.clone();
        let proxies = TrustedProxies::new(&config.server.trusted_proxies, Arc::clone(&metrics));
        let doorkeeper = Doorkeeper::new(auth, connections, Arc::clone(&metrics));
        let (probes, browsers) = (Probes::public(health), Browsers::new(&config));
        routes.touch(&metrics.http);
        let shed = Shed::new(services);
        Self { app, routes, probes, proxies, browsers, doorkeeper, config, limits, shed, metrics, shutdown }
    }

    /// Whoever asks for an operation of the API has to be known, and if it is a page, to be let in; everything else is open
    /// to all.
    async fn admit(
        &self,
        request: &mut Request,
        route: Option<&Route>,
        identity: &mut Identity,
        visitor: &Visitor,
    ) -> Result<(), TurnedAway> {
        if !visitor.may_ask(request.method(), route, &self.metrics) {
            return Err(TurnedAway::foreign_page());
        }
        match route {
            Some(route) if route.is_limited() && route.operation(effective(request.method())).is_some() => {
                self.doorkeeper.admit(request, route, identity).await
            }
            Some(_) | None => Ok(()),
        }
    }

    /// What every answer has, whatever it says: request id, caching rules, compression, and for HEAD no body.
    async fn finished(
        &self,
        mut request: Request,
        route: Option<&Route>,
        identity: &Identity,
        admitted: Result<(), TurnedAway>,
    ) -> Response {
        let is_head = request.method() == Method::HEAD;
        if is_head {
            request.set_method(Method::GET);
        }
        let coding = compress::accepted(request.headers()).filter(|_| !is_head);
        let mut response = match admitted {
            Ok(()) => self.routed(request, route, identity).await,
            Err(why) => {
                let leaves_unread = has_body_to_come(&request);
                let response = self.turned_away(why, identity).await;
                if leaves_unread { last_of_its_connection(response) } else { response }
            }
        };
        if route.is_some_and(Route::is_limited) {
            response
                .headers_mut()
                .entry(header::CACHE_CONTROL)
                .or_insert(HeaderValue::from_static("no-store"));
        }
        tell_request_id(&mut response, &identity.request_id);
        let response = compress::compressed(response, coding);
        if is_head { without_body(response) } else { response }
    }

    /// Too many failed attempts are told so instead; a right credential is never counted, so nobody is locked out by a
    /// neighbour behind the same address.
    async fn turned_away(&self, why: TurnedAway, identity: &Identity) -> Response {
        let TurnedAway { problem, is_failure, headers } = why;
        if is_failure
            && let Some(verdict) = self.limits.decide(FAILED_AUTHENTICATION, &identity.subject(None)).await
            && !verdict.is_allowed()
        {
            let mut response = limit_headers::problem(&verdict).into_response(&identity.request_id);
            add_limits(response.headers_mut(), limit_headers::headers(&verdict, Timestamp::now()));
            return response;
        }
        let mut response = problem.into_response(&identity.request_id);
        headers.into_iter().for_each(|(name, value)| {
            response.headers_mut().insert(name, value);
        });
        response
    }

    /// Unknown paths and methods end here, and OPTIONS.
    async fn routed(&self, request: Request, route: Option<&Route>, identity: &Identity) -> Response {
        let Some(route) = route else {
            return Problem::of(poem::error::NotFoundError.into()).into_response(&identity.request_id);
        };
        let mut response = match route.operation(request.method()) {
            Some(operation) if route.is_limited() => self.limited(request, route, operation, identity).await,
            Some(_) => self.handled(request, route, identity).await,
            None if request.method() == Method::OPTIONS => return options(route),
            None => {
                Problem::of(poem::error::MethodNotAllowedError.into()).into_response(&identity.request_id)
            }
        };
        if response.status() == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(header::ALLOW, route.allow.clone());
        }
        response
    }

    /// The limits, before a byte of the body is read.
    async fn limited(
        &self,
        request: Request,
        route: &Route,
        operation: &str,
        identity: &Identity,
    ) -> Response {
        let conversation = conversation_in(request.uri().path());
        let subject = identity.subject(conversation.as_ref());
        let Some(verdict) = self.limits.decide(operation, &subject).await else {
            return self.handled(request, route, identity).await;
        };
        let mut response = if verdict.is_allowed() {
            self.handled(request, route, identity).await
        } else {
            let refusal = limit_headers::problem(&verdict).into_response(&identity.request_id);
            if has_body_to_come(&request) { last_of_its_connection(refusal) } else { refusal }
        };
        add_limits(response.headers_mut(), limit_headers::headers(&verdict, Timestamp::now()));
        response
    }

    /// The routes; every error and every panic behind them becomes a problem here.
    async fn handled(&self, request: Request, route: &Route, identity: &Identity) -> Response {
        let id = &identity.request_id;
        match AssertUnwindSafe(self.taken_in(request)).catch_unwind().await {
            Ok(Ok(response)) => Problem::in_form(response, id),
            Ok(Err(error)) => Problem::answer_to(error, id, &route.parameters),
            Err(_) => {
                // What it says is not logged: a panic's text may quote what it was working on.
                error!(event = "panic", request_id = %id, "a handler panicked");
                Problem::from(Failure::new(ErrorCode::Internal, "The log of the server knows more."))
                    .into_response(id)
            }
        }
    }

    /// The body within its limits, then the handler.
    async fn taken_in(&self, mut request: Request) -> poem::Result<Response> {
        intake::take_in(&mut request, &self.config.server, &self.shutdown).await?;
        Ok(self.app.call(request).await?.into_response())
    }

    fn identify(&self, request: &Request) -> Identity {
        let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let peer = request.remote_addr().as_socket_addr().map_or(unknown, |address| address.ip());
        let (address, identified_by) = self.proxies.client(peer, request.headers());
        Identity {
            request_id: request_id(request.headers()),
            address,
            identified_by,
            principal: Principal::Address(address),
            grant: None,
            arrived: Instant::now(),
        }
    }
}

/// Whether an HTTP/1 request brings a body, which nobody reads once it is refused.
fn has_body_to_come(request: &Request) -> bool {
    let length = request.headers().get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    request.version() <= Version::HTTP_11
        && (length || request.headers().contains_key(header::TRANSFER_ENCODING))
}

/// Says that the connection ends with this answer, because a client that reuses it would otherwise meet its end instead of an
/// answer.
fn last_of_its_connection(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// HEAD is answered as GET is.
fn effective(method: &Method) -> &Method {
    if *method == Method::HEAD { &Method::GET } else { method }
}

fn options(route: &Route) -> Response {
    Response::builder().status(StatusCode::NO_CONTENT).header(header::ALLOW, route.allow.clone()).finish()
}

/// The caller's id for the request where it brought a valid one.
fn request_id(headers: &HeaderMap) -> RequestId {
    let brought = |name| headers.get(name)?.to_str().ok()?.parse().ok();
    brought(REQUEST_ID).or_else(|| brought(CORRELATION_ID)).unwrap_or_else(RequestId::random)
}

fn tell_request_id(response: &mut Response, id: &RequestId) {
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
}

/// The conversation that a path is about; the one in a body is not known yet when limits are asked.
fn conversation_in(path: &str) -> Option<ConversationId> {
    path.strip_prefix("/api/v1/conversations/")?.split('/').next()?.parse().ok()
}

/// A handler's own fields stay; a policy it added stands beside those of the edge, in one list.
fn add_limits(headers: &mut HeaderMap, limits: Vec<(HeaderName, HeaderValue)>) {
    for (name, value) in limits {
        if name == RATE_LIMIT_POLICY || !headers.contains_key(&name) {
            headers.append(name, value);
        }
    }
}

/// HEAD: everything but the body, whose length stays where it is known.
fn without_body(mut response: Response) -> Response {
    let body = http_body_util::combinators::BoxBody::from(response.take_body());
    if let Some(length) = body.size_hint().exact() {
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    response
}
