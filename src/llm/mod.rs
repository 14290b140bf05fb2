//! The model: one trait, async-openai behind it, retries and a breaker around it.

mod body;
mod call;
mod connect;
mod error;
mod http_client;
mod lenient;
mod names;
mod openai;
mod reader;
mod upstreams;
mod wire;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use tokio::time::Instant;

use crate::telemetry::metrics::ModelCause;
use crate::words::{RequestId, Usage};

pub use connect::{ConnectError, connect, needs_simulator};
pub use error::{BoxError, LlmError};
pub use http_client::http_client;
pub use openai::{Endpoint, OpenAiModel};
pub use upstreams::{Upstream, Upstreams};

/// Who says a line of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptRole {
    /// The persona's instructions.
    System,
    /// The user.
    User,
    /// The persona that is asked, in its earlier words.
    Assistant,
}

/// One line of a prompt.
#[derive(Clone, PartialEq, Eq)]
pub struct PromptLine {
    /// Who says it.
    pub role: PromptRole,
    /// The text.
    pub content: String,
}

/// A JSON schema the answer must follow (`response_format: json_schema`).
#[derive(Clone)]
pub struct AnswerSchema {
    /// Its name.
    pub name: &'static str,
    /// The schema.
    pub schema: serde_json::Value,
}

/// One question to the model. Its `Debug` shows sizes, never content.
#[derive(Clone)]
pub struct ModelRequest {
    /// The model to ask, where the caller cares; otherwise the upstream's own.
    pub model: Option<String>,
    /// The prompt, oldest line first.
    pub prompt: Vec<PromptLine>,
    /// Sampling temperature, where set.
    pub temperature: Option<f32>,
    /// The most tokens the answer may have, where set.
    pub max_tokens: Option<u32>,
    /// The form of the answer, where it must have one.
    pub schema: Option<AnswerSchema>,
    /// Goes to the model as `X-Request-ID`.
    pub request_id: RequestId,
    /// Nobody waits for the answer beyond this moment: it bounds attempts, waits and the stream.
    pub deadline: Instant,
    /// Why the model is asked; a retry says so by itself.
    pub cause: ModelCause,
}

impl std::fmt::Debug for ModelRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes: usize = self.prompt.iter().map(|line| line.content.len()).sum();
        f.debug_struct("ModelRequest")
            .field("model", &self.model)
            .field("lines", &self.prompt.len())
            .field("bytes", &bytes)
            .finish_non_exhaustive()
    }
}

/// What a stream brings.
#[derive(Clone, PartialEq)]
pub enum Chunk {
    /// A piece of text, never empty.
    Text(String),
    /// The end; nothing follows. A stream without it is [`LlmError::Cut`].
    End(Ending),
}

/// How an answer ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ending {
    /// Why the model stopped, in its own word.
    pub finish_reason: String,
    /// The model as it names itself.
    pub model: Option<String>,
    /// The provider's id of the answer.
    pub response_id: Option<String>,
    /// What it cost, where the provider said.
    pub usage: Option<Usage>,
}

/// An answer that was not streamed.
#[derive(Clone, PartialEq)]
pub struct Answer {
    /// The whole text.
    pub text: String,
    /// How it ended.
    pub ending: Ending,
}

/// Pieces of an answer, ending with one [`Chunk::End`] or one error. Dropping it ends the upstream request.
pub type ChunkStream = BoxStream<'static, Result<Chunk, LlmError>>;

/// A language model, as the program needs it.
#[async_trait]
pub trait ChatModel: Send + Sync + 'static {
    /// Asks and streams the answer. Returns when the upstream has answered with its first text or its end, so that an
    /// error here is one before the first token: the only place where trying again is harmless.
    async fn stream(&self, request: ModelRequest) -> Result<ChunkStream, LlmError>;

    /// The host and port that answer, where there is one place that does.
    fn server(&self) -> Option<(String, u16)> {
        None
    }

    /// Asks for a whole answer.
    async fn complete(&self, request: ModelRequest) -> Result<Answer, LlmError>;
}
