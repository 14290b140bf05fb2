//! One upstream that speaks OpenAI's protocol. The only file that names async-openai.

use std::future::Future;
use std::task::{Context, Poll};
use std::time::Duration;

use async_openai::Client;
use async_openai::error::OpenAIError;
use async_openai::middleware::HttpRequestFactory;
use async_openai::traits::RequestOptionsBuilder as _;
use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};
use tower::Service;
use tracing::{Span, warn};

use super::reader::{self, MAX_TEXT_BYTES, Patience};
use super::wire::{self, TokenLimit};
use super::{Answer, ChatModel, ChunkStream, Ending, LlmError, ModelRequest, body};
use crate::config;
use crate::telemetry::traces;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const EVENT_STREAM: &str = "text/event-stream";

/// Where an upstream is and how it is addressed. Its `Debug` shows neither key nor address.
#[derive(Clone)]
pub struct Endpoint {
    base_url: String,
    headers: HeaderMap,
    /// Never read; async-openai's trait wants one to exist.
    no_key: SecretString,
    token_limit: TokenLimit,
}

impl Endpoint {
    /// An endpoint at `base_url` (ending in `/v1`). Fails if the address is none, or the key cannot stand in a header.
    pub fn new(base_url: &str, api_key: Option<&SecretString>) -> Result<Self, &'static str> {
        let url: reqwest::Url = base_url.trim().parse().map_err(|_| "base_url is not an address")?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err("base_url must begin with http:// or https:// and name a host");
        }
        let mut headers = HeaderMap::new();
        if let Some(key) = api_key {
            // Keys from files end in a line break more often than not.
            let value = format!("Bearer {}", key.expose_secret().trim());
            let mut value = HeaderValue::try_from(value).map_err(|_| "api_key has characters no key has")?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let token_limit = match url.host_str() {
            Some("api.openai.com") => TokenLimit::MaxCompletionTokens,
            Some(_) | None => TokenLimit::MaxTokens,
        };
        let base_url = base_url.trim().trim_end_matches('/').to_owned();
        Ok(Self { base_url, headers, no_key: SecretString::default(), token_limit })
    }

    /// Host and port, as spans show them.
    fn server(&self) -> Option<(String, u16)> {
        let url: reqwest::Url = self.base_url.parse().ok()?;
        Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
    }
}

/// async-openai's own configuration cannot be made without reading `OPENAI_*` from the environment.
impl async_openai::config::Config for Endpoint {
    fn headers(&self) -> HeaderMap {
        self.headers.clone()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url)
    }

    fn query(&self) -> Vec<(&str, &str)> {
        Vec::new()
    }

    fn api_base(&self) -> &str {
        &self.base_url
    }

    fn api_key(&self) -> &SecretString {
        &self.no_key
    }
}

/// A model behind one upstream: one attempt per call, every wait bounded.
pub struct OpenAiModel {
    name: String,
    client: Client<Endpoint>,
    server: Option<(String, u16)>,
    default_model: Option<String>,
    token_limit: TokenLimit,
    timeout: Duration,
    first_token: Duration,
    gap: Duration,
}

impl OpenAiModel {
    /// The model called `default_model`, unless a request names one, of the upstream called `name`. `http` is the
    /// client that the whole process shares.
    pub fn new(
        name: &str,
        endpoint: Endpoint,
        default_model: Option<String>,
        http: reqwest::Client,
        settings: &config::Llm,
    ) -> Self {
        let (token_limit, server) = (endpoint.token_limit, endpoint.server());
        let once = Once { name: name.to_owned(), http: http.clone() };
        Self {
            name: name.to_owned(),
            client: Client::build(http, endpoint).with_http_service(once),
            server,
            default_model,
            token_limit,
            timeout: *settings.timeout,
            first_token: *settings.first_token_timeout,
            gap: *settings.token_gap_timeout,
        }
    }

    fn body<'a>(&'a self, request: &'a ModelRequest, stream: bool) -> wire::Request<'a> {
        wire::Request::new(request, self.default_model.as_deref(), self.token_limit, stream)
    }

    fn chat(&self, request: &ModelRequest) -> Result<async_openai::Chat<'_, Endpoint>, LlmError> {
        let chat = self.client.chat().header(REQUEST_ID, request.request_id.as_str()).map_err(read_error)?;
        // The span's place and nothing else: baggage and what others noted about the trace are not the model's business.
        match traces::current() {
            Some(place) => chat.header(TRACEPARENT, place.to_string()).map_err(read_error),
            None => Ok(chat),
        }
    }
}

#[async_trait]
impl ChatModel for OpenAiModel {
    fn server(&self) -> Option<(String, u16)> {
        self.server.clone()
    }

    async fn stream(&self, request: ModelRequest) -> Result<ChunkStream, LlmError> {
        let asked = Instant::now();
        let patience = Patience { first_token: self.first_token, gap: self.gap, deadline: request.deadline };
        let until = patience.until(asked, patience.first_token);
        let chat = self.chat(&request)?.header(ACCEPT, EVENT_STREAM).map_err(read_error)?;
        let asking = chat.create_stream_byot::<_, wire::Response>(self.body(&request, true));
        let responses = within(asked, until, asking).await?;
        let responses = responses.map(|response| response.map_err(read_error)).boxed();
        reader::read(responses, asked, patience).await
    }

    async fn complete(&self, request: ModelRequest) -> Result<Answer, LlmError> {
        let asked = Instant::now();
        let until = (asked + self.timeout).min(request.deadline);
        let chat = self.chat(&request)?;
        let asking = chat.create_byot::<_, wire::Response>(self.body(&request, false));
        let response = within(asked, until, asking).await?;

        let mut ending = Ending::default();
        let said = response.say(&mut ending)?;
        if said.text.len() > MAX_TEXT_BYTES {
            return Err(LlmError::Garbled("more text than an answer may have"));
        }
        ending.finish_reason = said.finish_reason.ok_or(LlmError::Cut)?;
        Ok(Answer { text: said.text, ending })
    }
}

impl std::fmt::Debug for OpenAiModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenAiModel").field("name", &self.name).finish_non_exhaustive()
    }
}

async fn within<T>(
    since: Instant,
    until: Instant,
    asking: impl Future<Output = Result<T, OpenAIError>>,
) -> Result<T, LlmError> {
    match timeout_at(until, asking).await {
        Ok(answered) => answered.map_err(read_error),
        Err(_) => Err(LlmError::Slow(until.saturating_duration_since(since))),
    }
}

/// What went wrong, without the text of the upstream, which async-openai's errors carry.
fn read_error(error: OpenAIError) -> LlmError {
    match error {
        OpenAIError::Boxed(error) => match error.downcast::<LlmError>() {
            Ok(error) => *error,
            Err(other) => LlmError::Broken(other),
        },
        OpenAIError::Reqwest(error) => LlmError::Broken(error.without_url().into()),
        // Its text may be a part of the answer.
        OpenAIError::StreamError(_) => LlmError::Broken("the stream broke".into()),
        OpenAIError::JSONDeserialize(..) => LlmError::Garbled("not JSON of the expected form"),
        OpenAIError::InvalidArgument(_) => LlmError::Garbled("the request could not be written"),
        // Made of statuses above 299, which `Once` keeps to itself, and of files, which we do not read.
        OpenAIError::ApiError(_) | OpenAIError::FileSaveError(_) | OpenAIError::FileReadError(_) => {
            LlmError::Garbled("not an answer")
        }
    }
}

/// One attempt. Where async-openai's own service tries again and forgets what it was told, this one keeps the status and
/// when to come back, and bounds the body.
#[derive(Clone)]
struct Once {
    name: String,
    http: reqwest::Client,
}

impl Service<HttpRequestFactory> for Once {
    type Response = reqwest::Response;
    type Error = OpenAIError;
    type Future = BoxFuture<'static, Result<reqwest::Response, OpenAIError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OpenAIError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequestFactory) -> Self::Future {
        let Self { name, http } = self.clone();
        Box::pin(async move {
            let request = request.build().await?;
            let streamed = request.headers().get(ACCEPT).is_some_and(|accept| accept == EVENT_STREAM);
            let response = http.execute(request).await?;
            Span::current().record("http.response.status_code", response.status().as_u16());
            if !response.status().is_success() {
                return Err(OpenAIError::Boxed(Box::new(refusal(&name, response).await)));
            }
            Ok(body::bounded(response, if streamed { body::Form::Events } else { body::Form::Whole }))
        })
    }
}

async fn refusal(upstream: &str, response: reqwest::Response) -> LlmError {
    let status = response.status().as_u16();
    let retry_after = body::retry_after(response.headers(), OffsetDateTime::now_utc());
    let code = wire::error_code(&body::beginning(response).await).unwrap_or_default();
    let error = LlmError::from_status(status, retry_after);
    if matches!(error, LlmError::Refused { .. }) {
        warn!(
            event = "model_refused",
            upstream, status, code, "the model refused a request: is its address, key and model right?"
        );
    }
    error
}
