//! What the simulator answers on its port: the OpenAI protocol, and its own controls under `/simulator`.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use http::StatusCode;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use poem::web::{Data, Json};
use poem::{Body, Endpoint, EndpointExt, IntoResponse, Request, Response, Route, get, handler, post};
use serde_json::{Map, Value, json};

use super::answer::{Act, Answer};
use super::controls::{Begun, Controls, InFlight, Seen, Stats};
use super::refusal::{Refusal, refuse};
use super::request::ChatRequest;
use super::settings::Settings;

/// The largest body; far above any prompt of ours.
const MAX_BODY: usize = 8 << 20;

/// Everything behind the port.
pub(super) fn endpoint(controls: Controls) -> impl Endpoint<Output = Response> {
    Route::new()
        .at("/v1/chat/completions", post(chat))
        .at("/v1/models", get(models))
        .at("/simulator/settings", get(settings).put(change_settings))
        .at("/simulator/continue", post(continue_paused))
        .at("/simulator/stats", get(stats))
        .catch_all_error(|error: poem::Error| async { refuse(error) })
        .data(controls)
        .map_to_response()
}

#[handler]
async fn chat(request: &Request, body: Body, Data(controls): Data<&Controls>) -> Result<Response, Refusal> {
    let asked: ChatRequest = read(body).await?;
    if asked.model.is_empty() || asked.messages.is_empty() {
        return Err(Refusal::invalid("'model' and at least one of 'messages' are needed"));
    }
    let begun = controls.begin(&asked, seen(request, &asked));
    if let Some(refusal) = Refusal::by(&begun) {
        begun.in_flight.refused();
        return Err(refusal);
    }
    let answer = Answer::to(&asked, &begun, unix_seconds());
    if asked.is_stream() { Ok(streamed(answer, begun)) } else { Ok(whole(answer, begun).await) }
}

fn seen(request: &Request, asked: &ChatRequest) -> Seen {
    let header = |name: &str| request.header(name).map(|value| value.chars().take(128).collect());
    Seen {
        model: asked.model.chars().take(128).collect(),
        messages: asked.messages.len(),
        stream: asked.is_stream(),
        json_schema: asked.has_schema(),
        authorized: request.headers().contains_key(AUTHORIZATION),
        request_id: header("x-request-id"),
        traceparent: header("traceparent"),
    }
}

fn streamed(answer: Answer, begun: Begun) -> Response {
    Response::builder()
        .header(CONTENT_TYPE, "text/event-stream; charset=utf-8")
        .header(CACHE_CONTROL, "no-cache")
        .body(Body::from_bytes_stream(play(answer.streamed(), begun)))
}

/// The headers come with the first bytes, as a model's do that thinks first.
async fn whole(answer: Answer, begun: Begun) -> Response {
    let mut played = Box::pin(play(answer.whole(), begun));
    let first = played.next().await;
    let body = Body::from_bytes_stream(stream::iter(first).chain(played));
    Response::builder().header(CONTENT_TYPE, "application/json").body(body)
}

/// Plays an answer's acts. Dropped before its end, it counts as cancelled by the client.
fn play(acts: Vec<Act>, begun: Begun) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let Begun { in_flight, go_on, .. } = begun;
    let begin = (acts.into_iter(), in_flight, go_on);
    stream::unfold(begin, |(mut acts, mut in_flight, mut go_on)| async move {
        loop {
            match acts.next()? {
                Act::Send(bytes) => {
                    end_with_last(acts.as_slice(), &mut in_flight);
                    return Some((Ok(bytes), (acts, in_flight, go_on)));
                }
                Act::Wait(time) => tokio::time::sleep(time).await,
                // Fails only when the controls are gone, and then nobody will say go on.
                Act::Pause => drop(go_on.changed().await),
                Act::Stall => std::future::pending().await,
                Act::Cut => {
                    // What was sent before must have left: hyper drops unsent bytes when a body fails.
                    tokio::task::yield_now().await;
                    in_flight.ended();
                    let cut = io::Error::other("cut by the simulator");
                    return Some((Err(cut), (acts, in_flight, go_on)));
                }
            }
        }
    })
}

/// Clients leave as soon as they have read the last bytes: that is an end, not a cancel.
fn end_with_last(left: &[Act], in_flight: &mut InFlight) {
    if left.is_empty() {
        in_flight.ended();
    }
}

#[handler]
fn models() -> Response {
    let model = json!({"id": "simulator", "object": "model", "created": 0, "owned_by": "polylogue"});
    Json(json!({"object": "list", "data": [model]})).into_response()
}

#[handler]
fn settings(Data(controls): Data<&Controls>) -> Json<Settings> {
    Json(controls.settings())
}

#[handler]
async fn change_settings(body: Body, Data(controls): Data<&Controls>) -> Result<Json<Settings>, Refusal> {
    let members: Map<String, Value> = read(body).await?;
    controls.lay_over(members).map(Json).map_err(Refusal::invalid)
}

#[handler]
fn continue_paused(Data(controls): Data<&Controls>) -> StatusCode {
    controls.go_on();
    StatusCode::NO_CONTENT
}

#[handler]
fn stats(Data(controls): Data<&Controls>) -> Json<Stats> {
    Json(controls.stats())
}

async fn read<T: serde::de::DeserializeOwned>(body: Body) -> Result<T, Refusal> {
    let bytes =
        body.into_bytes_limit(MAX_BODY).await.map_err(|_| Refusal::invalid("the body could not be read"))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Refusal::invalid(format!("the body is not valid: {error}")))
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
