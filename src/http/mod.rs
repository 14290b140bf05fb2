//! The edge: accept loop, requests and frames in, events out; no decisions.

pub mod accept;
mod admission;
pub mod api;
pub mod asyncapi;
pub mod body;
pub mod client_address;
mod docs;
pub mod document;
pub mod edge;
mod forwarded;
mod gate;
mod health;
pub mod limit_headers;
mod log_level;
pub mod management;
pub mod origin;
pub mod probes;
pub mod problem;
pub mod roster;
pub mod security;
mod services;
pub mod sse;
pub mod wire;
pub mod ws;

use std::sync::Arc;

use poem::endpoint::make_sync;
use poem::http::{Method, StatusCode, header};
use poem::{Request, Response, Route, get, post};

pub use admission::Admission;
pub use docs::Documents;
pub use edge::{Edge, HeldPlace, RouteTable};
pub use gate::Gate;
pub use health::{Health, Readiness};
pub use probes::{REVISION, VERSION};
pub use services::{Identity, Services};

use crate::config::PublicUrl;
use crate::connections::Connections;

/// The API and the socket.
pub fn api(services: &Services, connections: &Arc<Connections>) -> Route {
    Route::new()
        .at("/api/v1/chat/ws", get(ws::endpoint(services.clone(), Arc::clone(connections))))
        .at("/api/v1/chat/ws/tickets", post(ws::tickets(Arc::clone(connections))))
        .nest(api::PREFIX, api::routes(services))
}

/// Every path and method of [`api`](fn@api): the document's operations, and the socket beside them.
pub fn routes() -> RouteTable {
    let operations = api::OPERATIONS.iter().map(|(method, path, _)| (*method, *path));
    let socket = [("GET", "/api/v1/chat/ws"), ("POST", "/api/v1/chat/ws/tickets")];
    operations.chain(socket).fold(RouteTable::new(), |table, (method, path)| {
        table.at(path, Method::from_bytes(method.as_bytes()))
    })
}

/// The public port: `api` (which serves `routes`) and what there is beside it, behind the edge.
pub fn public(
    services: &Services,
    connections: &Arc<Connections>,
    api: Route,
    routes: RouteTable,
    documents: Documents,
) -> Edge<Route> {
    let prefix = services.config.server.public_url.as_ref().map_or("", PublicUrl::as_str);
    let home = format!("{prefix}/docs");
    let app = api
        .at("/", get(make_sync(move |_| redirect(&home))))
        .at("/problems/:code", get(make_sync(problem_page)));
    Edge::new(documents.serve_on(app), beside(routes), services, Arc::clone(connections))
}

/// The paths beside the API.
fn beside(routes: RouteTable) -> RouteTable {
    let paths = [
        "/",
        "/docs",
        "/openapi.json",
        "/openapi-3.0.json",
        "/asyncapi.yaml",
        "/problems/{code}",
        "/livez",
        "/readyz",
        "/version",
    ];
    paths.iter().fold(routes, |table, path| table.at(path, [Method::GET]))
}

/// Temporary, because `server.public_url` may change and a permanent one is remembered for ever.
fn redirect(to: &str) -> Response {
    Response::builder().status(StatusCode::TEMPORARY_REDIRECT).header(header::LOCATION, to).finish()
}

fn problem_page(request: Request) -> poem::Result<Response> {
    let code = request.raw_path_param("code").unwrap_or_default();
    let description = problem::description(code).ok_or(poem::error::NotFoundError)?;
    Ok(Response::builder().content_type("application/json").body(description.to_string()))
}
