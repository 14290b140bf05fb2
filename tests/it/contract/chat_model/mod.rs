//! What every `ChatModel` does with what upstreams really send.

mod attempts;
mod garbage;
mod silence;
mod suite;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::StreamExt as _;
use polylogue::config::{Config, Llm, Span};
use polylogue::llm::{
    ChatModel, Chunk, ChunkStream, Ending, Endpoint, LlmError, ModelRequest, OpenAiModel, PromptLine,
    PromptRole, Upstream, Upstreams, http_client,
};
use polylogue::telemetry::metrics::{Metrics, ModelCause};
use tokio::time::{Duration, Instant, timeout};

/// The default settings, with waits that suit a test.
fn settings() -> Llm {
    let mut llm = Config::default().llm;
    llm.retry.attempts = 1.try_into().unwrap();
    llm.retry.wait = Span(Duration::from_millis(2));
    llm
}

fn with_attempts(attempts: u32) -> Llm {
    let mut llm = settings();
    llm.retry.attempts = attempts.try_into().unwrap();
    llm
}

fn openai(name: &str, address: SocketAddr, settings: &Llm) -> OpenAiModel {
    let key = "sk-test\n".to_owned().into();
    let endpoint = Endpoint::new(&format!("http://{address}/v1/"), Some(&key)).unwrap();
    OpenAiModel::new(name, endpoint, Some("m".into()), http_client(settings).unwrap(), settings)
}

fn upstreams(addresses: &[SocketAddr], settings: &Llm, metrics: &Arc<Metrics>) -> Arc<Upstreams> {
    let names = ["first", "second", "third"].into_iter();
    let upstream = |(name, address): (&str, &SocketAddr)| Upstream {
        name: name.into(),
        default_model: Some("m".into()),
        chat: Arc::new(openai(name, *address, settings)),
    };
    let upstreams = names.zip(addresses).map(upstream).collect();
    Arc::new(Upstreams::new(upstreams, ["persona-model".to_owned()], settings, metrics.clone()))
}

fn request() -> ModelRequest {
    let line = |role, content: &str| PromptLine { role, content: content.into() };
    ModelRequest {
        model: None,
        prompt: vec![
            line(PromptRole::System, "You are brief."),
            line(PromptRole::User, "Hello?"),
            line(PromptRole::Assistant, "Yes."),
            line(PromptRole::User, "Who are you?"),
        ],
        temperature: Some(0.7),
        max_tokens: Some(64),
        schema: None,
        request_id: "req-7".parse().unwrap(),
        deadline: Instant::now() + Duration::from_secs(30),
        cause: ModelCause::First,
    }
}

/// Reads a stream: its pieces, and how it ended. Nothing may follow its end.
async fn read(mut stream: ChunkStream) -> (Vec<String>, Result<Ending, LlmError>) {
    let mut pieces = Vec::new();
    let ending = loop {
        match timeout(wire::PATIENCE, stream.next()).await.expect("the stream goes on").unwrap() {
            Ok(Chunk::Text(text)) => pieces.push(text),
            Ok(Chunk::End(ending)) => break Ok(ending),
            Err(error) => break Err(error),
        }
    };
    assert!(stream.next().await.is_none());
    (pieces, ending)
}

async fn whole_text(model: &dyn ChatModel) -> String {
    let (pieces, ending) = read(model.stream(request()).await.unwrap()).await;
    ending.unwrap();
    pieces.concat()
}

/// Why a question fails before the first token.
async fn refusal(model: &dyn ChatModel) -> LlmError {
    model.stream(request()).await.err().expect("no answer")
}
