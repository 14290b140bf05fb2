//! The chat completions protocol as it is spoken by those who claim to speak OpenAI's: strict in what we send, and in
//! what we read everything may be missing, new, or of another type.

use serde::de::SeqAccess;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::lenient::{Fields, FromJson, lenient};
use super::{Ending, LlmError, ModelRequest, PromptRole};
use crate::words::Usage;

/// What is sent.
#[derive(Serialize)]
pub(super) struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    messages: Vec<Line<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

#[derive(Serialize)]
struct Line<'a> {
    role: &'static str,
    content: &'a str,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct ResponseFormat<'a> {
    r#type: &'static str,
    json_schema: JsonSchema<'a>,
}

#[derive(Serialize)]
struct JsonSchema<'a> {
    name: &'static str,
    strict: bool,
    schema: &'a Value,
}

/// How an upstream wants to be told the most tokens of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenLimit {
    /// `max_tokens`: what everybody but OpenAI reads.
    MaxTokens,
    /// `max_completion_tokens`: what OpenAI's newer models insist on.
    MaxCompletionTokens,
}

impl<'a> Request<'a> {
    pub(super) fn new(
        request: &'a ModelRequest,
        default_model: Option<&'a str>,
        limit: TokenLimit,
        stream: bool,
    ) -> Self {
        let line = |line: &'a super::PromptLine| Line {
            role: match line.role {
                PromptRole::System => "system",
                PromptRole::User => "user",
                PromptRole::Assistant => "assistant",
            },
            content: &line.content,
        };
        let schema = request.schema.as_ref();
        Self {
            model: request.model.as_deref().or(default_model),
            messages: request.prompt.iter().map(line).collect(),
            temperature: request.temperature,
            max_tokens: request.max_tokens.filter(|_| limit == TokenLimit::MaxTokens),
            max_completion_tokens: request.max_tokens.filter(|_| limit == TokenLimit::MaxCompletionTokens),
            response_format: schema.map(|schema| ResponseFormat {
                r#type: "json_schema",
                json_schema: JsonSchema { name: schema.name, strict: true, schema: &schema.schema },
            }),
            stream,
            stream_options: stream.then_some(StreamOptions { include_usage: true }),
        }
    }
}

/// What is read: a chunk of a stream (`delta`) or a whole answer (`message`).
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Response {
    #[serde(deserialize_with = "lenient")]
    id: Option<String>,
    #[serde(deserialize_with = "lenient")]
    model: Option<String>,
    #[serde(deserialize_with = "lenient")]
    choices: Option<Vec<Choice>>,
    #[serde(deserialize_with = "lenient")]
    usage: Option<Tokens>,
    error: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Choice {
    #[serde(deserialize_with = "lenient")]
    delta: Option<Delta>,
    #[serde(deserialize_with = "lenient")]
    message: Option<Delta>,
    #[serde(deserialize_with = "lenient")]
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Delta {
    #[serde(deserialize_with = "lenient")]
    content: Option<Content>,
    #[serde(deserialize_with = "lenient")]
    refusal: Option<String>,
    /// What is thought has two names, and some use both.
    #[serde(deserialize_with = "lenient")]
    reasoning_content: Option<String>,
    #[serde(deserialize_with = "lenient")]
    reasoning: Option<String>,
}

/// Text, or, as some providers have it, a list of parts of which some are text.
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Part {
    #[serde(deserialize_with = "lenient")]
    text: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tokens {
    #[serde(deserialize_with = "lenient")]
    prompt_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    completion_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    total_tokens: Option<u64>,
}

/// What one chunk, or one whole answer, has to say.
pub(super) struct Said {
    /// Its text; may be empty.
    pub(super) text: String,
    /// Whether the model works on it: text, or thoughts that are not shown.
    pub(super) is_alive: bool,
    /// Why the model stopped, if it did.
    pub(super) finish_reason: Option<String>,
}

impl Response {
    /// Takes what is said and notes in `ending` what belongs there; or finds that this is an error in disguise.
    pub(super) fn say(self, ending: &mut Ending) -> Result<Said, LlmError> {
        if let Some(error) = self.error.filter(|error| !error.is_null()) {
            return Err(reported(&error));
        }
        let keep = |known: &mut Option<String>, new: Option<String>| {
            *known = new.filter(|text| !text.is_empty()).or(known.take());
        };
        keep(&mut ending.response_id, self.id);
        keep(&mut ending.model, self.model);
        ending.usage = self.usage.and_then(Tokens::known).or(ending.usage);

        // We ask for one choice.
        let choice = self.choices.and_then(|choices| choices.into_iter().next()).unwrap_or_default();
        let delta = choice.delta.or(choice.message).unwrap_or_default();
        let text = delta.content.map(Content::text).filter(|text| !text.is_empty());
        let text = text.or(delta.refusal).unwrap_or_default();
        let thoughts = [delta.reasoning_content, delta.reasoning];
        let thinks = thoughts.into_iter().flatten().any(|thought| !thought.is_empty());
        let finish_reason = choice.finish_reason.filter(|reason| !reason.is_empty());
        Ok(Said { is_alive: thinks || !text.is_empty(), text, finish_reason })
    }
}

impl Fields for Choice {}
impl Fields for Delta {}
impl Fields for Part {}
impl Fields for Tokens {}

impl<'de> FromJson<'de> for Content {
    fn from_text(text: &str) -> Option<Self> {
        Some(Self::Text(text.to_owned()))
    }

    fn from_array<A: SeqAccess<'de>>(array: A) -> Result<Option<Self>, A::Error> {
        Ok(Vec::from_array(array)?.map(Self::Parts))
    }
}

impl Content {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Parts(parts) => parts.into_iter().filter_map(|part| part.text).collect(),
        }
    }
}

impl Tokens {
    /// The usage, unless nothing is known.
    fn known(self) -> Option<Usage> {
        let (input_tokens, output_tokens) = (self.prompt_tokens, self.completion_tokens);
        let sum = || Some(input_tokens?.saturating_add(output_tokens?));
        let usage = Usage { input_tokens, output_tokens, total_tokens: self.total_tokens.or_else(sum) };
        (usage != Usage::default()).then_some(usage)
    }
}

/// What an error inside a good response means: many send the status they would have liked to send as a code.
fn reported(error: &Value) -> LlmError {
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    let status = ["code", "status", "status_code"].iter().find_map(|key| number(error.get(key)?));
    match status.and_then(|status| u16::try_from(status).ok()) {
        Some(status @ 400..600) => LlmError::from_status(status, None),
        Some(_) | None => LlmError::Garbled("the model reported an error in its answer"),
    }
}

/// What an error's body calls itself, if that is a plain word such as `model_not_found`: fit for a log, where a message,
/// which may repeat the prompt, is not.
pub(super) fn error_code(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let error = body.get("error").unwrap_or(&body);
    ["code", "type"].iter().find_map(|key| match error.get(key)? {
        Value::String(word) => {
            let plain = word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
            (plain && (1..=64).contains(&word.len())).then(|| word.clone())
        }
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(json: Value) -> (Result<Said, LlmError>, Ending) {
        let mut ending = Ending::default();
        let response: Response = serde_json::from_str(&json.to_string()).unwrap();
        (response.say(&mut ending), ending)
    }

    #[test]
    fn what_is_missing_null_or_of_another_type_is_absent() {
        let oddities = [
            json!({}),
            json!({"choices": null, "usage": null, "error": null, "id": 7, "model": null}),
            json!({"choices": [{"delta": null, "finish_reason": null}], "created": 1.5, "service_tier": "weird"}),
            json!({"choices": [{"finish_reason": ""}], "usage": {"prompt_tokens": "many"}}),
            json!({"choices": "none", "usage": []}),
            json!({"choices": [7, {"delta": [1], "finish_reason": {"a": -1}}], "usage": {"total_tokens": -1}}),
            json!({"choices": [{"delta": {"content": {"text": true}}}], "usage": {"prompt_tokens": 1.5}}),
        ];
        for odd in oddities {
            let (said, ending) = said(odd.clone());
            let said = said.ok().unwrap();
            assert_eq!((said.text.as_str(), said.finish_reason, said.is_alive), ("", None, false), "{odd}");
            assert_eq!(ending, Ending::default(), "{odd}");
        }
    }

    #[test]
    fn text_comes_as_text_or_in_parts() {
        for content in [json!("Hi."), json!([{"type": "thinking"}, {"type": "text", "text": "Hi."}])] {
            let (said, _) = said(json!({"choices": [{"delta": {"content": content}}]}));
            assert_eq!(said.ok().unwrap().text, "Hi.");
        }
    }

    #[test]
    fn thoughts_are_a_sign_of_life_but_no_text() {
        for thought in [
            json!({"content": null, "reasoning_content": "Hm."}),
            json!({"reasoning": "Hm."}),
            json!({"reasoning": "Hm.", "reasoning_content": "Hm."}),
        ] {
            let (said, _) = said(json!({"choices": [{ "delta": thought }]}));
            let said = said.ok().unwrap();
            assert_eq!((said.text.as_str(), said.is_alive), ("", true));
        }
    }

    #[test]
    fn an_error_in_a_good_response_is_what_its_code_says() {
        let error = |error: Value| said(json!({ "error": error })).0.err().unwrap();
        assert!(matches!(error(json!({"code": 429})), LlmError::Throttled { .. }));
        assert!(matches!(error(json!({"code": "503"})), LlmError::Failed { status: 503, .. }));
        assert!(matches!(error(json!({"code": "server_error"})), LlmError::Garbled(_)));
        assert!(matches!(error(json!("oops")), LlmError::Garbled(_)));
    }

    #[test]
    fn only_a_plain_word_of_an_error_is_fit_for_a_log() {
        let code = |error: Value| error_code(json!({ "error": error }).to_string().as_bytes());
        assert_eq!(code(json!({"code": "model_not_found"})).as_deref(), Some("model_not_found"));
        assert_eq!(code(json!({"code": 401})).as_deref(), Some("401"));
        assert_eq!(
            code(json!({"code": null, "type": "invalid_request_error"})).unwrap(),
            "invalid_request_error"
        );
        assert_eq!(code(json!({"code": "your prompt was: …"})), None);
        assert_eq!(error_code(b"<html>"), None);
    }

    /// Every line of the input is what one event of a stream, or a whole answer, holds.
    #[test]
    fn fuzz_model_answers() {
        crate::fuzz::run("model_answers", |bytes| {
            let mut ending = Ending::default();
            for line in bytes.split(|byte| *byte == b'\n') {
                if let Ok(Ok(said)) = serde_json::from_slice::<Response>(line).map(|it| it.say(&mut ending)) {
                    assert!(said.text.len() <= line.len());
                }
                if let Some(code) = error_code(line) {
                    assert!(code.len() <= 64 && code.bytes().all(|b| b.is_ascii_graphic()), "{code:?}");
                }
            }
        });
    }
}
