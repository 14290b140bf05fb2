//! A request for a completion, as far as the simulator looks at it. Members it does not know are let pass.

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
pub(super) struct ChatRequest {
    #[serde(default)]
    pub(super) model: String,
    #[serde(default)]
    pub(super) messages: Vec<Message>,
    #[serde(default)]
    pub(super) stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    response_format: Option<ResponseFormat>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    pub(super) seed: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Message {
    role: String,
    #[serde(default)]
    content: Content,
}

#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
    #[default]
    Nothing,
}

#[derive(Debug, Deserialize)]
struct Part {
    #[serde(default)]
    text: String,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResponseFormat {
    Text,
    JsonObject,
    JsonSchema { json_schema: JsonSchema },
}

#[derive(Debug, Deserialize)]
struct JsonSchema {
    #[serde(default)]
    schema: Value,
}

/// The form that an answer is asked to have.
pub(super) enum Form<'a> {
    Prose,
    AnyJson,
    Json(&'a Value),
}

impl ChatRequest {
    /// What every message says, piece by piece.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> + Clone {
        self.messages.iter().flat_map(|message| message.content.pieces())
    }

    /// What an answer depends on: who says what.
    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        self.messages
            .iter()
            .flat_map(|message| [message.role.as_str()].into_iter().chain(message.content.pieces()))
    }

    pub(super) fn is_stream(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    pub(super) fn wants_usage(&self) -> bool {
        self.stream_options.as_ref().is_some_and(|options| options.include_usage)
    }

    pub(super) fn form(&self) -> Form<'_> {
        match &self.response_format {
            None | Some(ResponseFormat::Text) => Form::Prose,
            Some(ResponseFormat::JsonObject) => Form::AnyJson,
            Some(ResponseFormat::JsonSchema { json_schema }) => Form::Json(&json_schema.schema),
        }
    }

    pub(super) fn has_schema(&self) -> bool {
        matches!(self.form(), Form::Json(_))
    }

    pub(super) fn max_tokens(&self) -> usize {
        let most = self.max_completion_tokens.or(self.max_tokens);
        most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX))
    }

    /// About four letters to a token and a few tokens around every message, as models count.
    pub(super) fn prompt_tokens(&self) -> usize {
        self.texts().map(str::len).sum::<usize>() / 4 + 3 * self.messages.len()
    }
}

impl Content {
    fn pieces(&self) -> impl Iterator<Item = &str> + Clone {
        let (text, parts) = match self {
            Self::Text(text) => (Some(text), [].as_slice()),
            Self::Parts(parts) => (None, parts.as_slice()),
            Self::Nothing => (None, [].as_slice()),
        };
        text.into_iter().map(String::as_str).chain(parts.iter().map(|part| part.text.as_str()))
    }
}
