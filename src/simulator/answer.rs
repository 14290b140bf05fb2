//! What the simulator says, and what of it reaches the client when: a list of acts that is then played.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::controls::Begun;
use super::dice::Dice;
use super::request::{ChatRequest, Form};
use super::settings::Fault;
use super::{prose, schema};

/// One thing that happens on the way to the client.
pub(super) enum Act {
    /// Time passes.
    Wait(Duration),
    /// These bytes go out.
    Send(Bytes),
    /// Nothing until somebody says go on.
    Pause,
    /// Nothing any more.
    Stall,
    /// The connection breaks.
    Cut,
}

/// A whole answer, before any of it is sent.
pub(super) struct Answer {
    id: String,
    created: u64,
    model: String,
    tokens: Vec<String>,
    finish_reason: Option<String>,
    usage: Option<Value>,
    first_after: Duration,
    gap: Duration,
    fault: Option<Fault>,
    pause_after: Option<usize>,
}

impl Answer {
    /// Thinks of an answer: the same one for the same messages and seed.
    pub(super) fn to(request: &ChatRequest, begun: &Begun, created: u64) -> Self {
        let Begun { number, settings, rule, .. } = begun;
        let mut tokens = rule.says.clone().unwrap_or_else(|| {
            let seed = settings.seed ^ request.seed.unwrap_or_default().unsigned_abs();
            tokens(request, settings.tokens.get(), &mut Dice::new(seed, request.lines()))
        });
        let cut_short = tokens.len() > request.max_tokens();
        tokens.truncate(request.max_tokens());

        let reason = if cut_short { "length" } else { rule.finish_reason.as_deref().unwrap_or("stop") };
        let (prompt, completion) = (request.prompt_tokens(), tokens.len());
        let usage = json!({
            "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion,
        });
        Self {
            id: format!("chatcmpl-simulated-{number}"),
            created,
            model: request.model.clone(),
            finish_reason: (rule.fault != Some(Fault::NoFinishReason)).then(|| reason.to_owned()),
            usage: (!request.is_stream() || request.wants_usage()).then_some(usage),
            first_after: millis(rule.time_to_first_token_ms.unwrap_or(settings.time_to_first_token_ms)),
            gap: millis(rule.token_gap_ms.unwrap_or(settings.token_gap_ms)),
            fault: rule.fault,
            pause_after: rule.pause_after,
            tokens,
        }
    }

    /// The answer as server-sent events: role, text, finish reason, usage if asked for, `[DONE]`.
    pub(super) fn streamed(self) -> Vec<Act> {
        let mut acts = Vec::with_capacity(self.tokens.len() * 2 + 5);
        push_wait(&mut acts, self.first_after);
        if self.fault == Some(Fault::Stall) {
            acts.push(Act::Stall);
            return acts;
        }
        if self.fault == Some(Fault::Garbage) {
            acts.push(Act::Send(Bytes::from_static(b"data: this is not {JSON\n\n")));
        }
        acts.push(self.chunk(&json!({"role": "assistant", "content": ""}), None));

        let text_begins = self.chunk_beginning();
        for (at, token) in self.tokens.iter().enumerate() {
            push_wait(&mut acts, if at == 0 { Duration::ZERO } else { self.gap });
            if self.breaks_before(at, &mut acts) {
                return acts;
            }
            acts.push(text_chunk(&text_begins, token));
        }
        if !self.breaks_before(self.tokens.len(), &mut acts) {
            self.push_ending(&mut acts);
        }
        acts
    }

    /// The answer as one JSON object, after the time that all its tokens take.
    pub(super) fn whole(self) -> Vec<Act> {
        let mut acts = Vec::new();
        let gaps = u32::try_from(self.tokens.len().saturating_sub(1)).unwrap_or(u32::MAX);
        push_wait(&mut acts, self.first_after.saturating_add(self.gap.saturating_mul(gaps)));
        if self.pause_after.is_some() {
            acts.push(Act::Pause);
        }
        let body = Bytes::from(self.completion().to_string());
        match self.fault {
            Some(Fault::Stall | Fault::StallMidway { .. }) => acts.push(Act::Stall),
            Some(Fault::CutStream { .. }) => {
                acts.extend([Act::Send(body.slice(..body.len() / 2)), Act::Cut]);
            }
            Some(Fault::Garbage) => acts.push(Act::Send(Bytes::from_static(b"this is not {JSON"))),
            Some(Fault::ErrorInStream { .. }) => acts.push(Act::Send(error_in_stream().to_string().into())),
            Some(
                Fault::RateLimited { .. }
                | Fault::ServerError
                | Fault::Unavailable { .. }
                | Fault::RefuseRequest
                | Fault::RefuseAuth
                | Fault::NoFinishReason,
            )
            | None => acts.push(Act::Send(body)),
        }
        acts
    }

    /// Adds what goes wrong or pauses before token `at`; whether nothing comes after it.
    fn breaks_before(&self, at: usize, acts: &mut Vec<Act>) -> bool {
        let due = |after: usize| at == after.min(self.tokens.len());
        if self.pause_after.is_some_and(due) {
            acts.push(Act::Pause);
        }
        let broken = match self.fault {
            Some(Fault::StallMidway { after_tokens }) => due(after_tokens).then(|| vec![Act::Stall]),
            Some(Fault::CutStream { after_tokens }) => due(after_tokens)
                .then(|| vec![Act::Send(Bytes::from_static(b"data: {\"id\":\"chatcmpl-")), Act::Cut]),
            Some(Fault::ErrorInStream { after_tokens }) => {
                due(after_tokens).then(|| vec![event(&error_in_stream())])
            }
            Some(
                Fault::RateLimited { .. }
                | Fault::ServerError
                | Fault::Unavailable { .. }
                | Fault::RefuseRequest
                | Fault::RefuseAuth
                | Fault::Stall
                | Fault::NoFinishReason
                | Fault::Garbage,
            )
            | None => None,
        };
        let breaks = broken.is_some();
        acts.extend(broken.into_iter().flatten());
        breaks
    }

    fn push_ending(&self, acts: &mut Vec<Act>) {
        let Some(reason) = &self.finish_reason else { return };
        acts.push(self.chunk(&json!({}), Some(reason)));
        if let Some(usage) = &self.usage {
            acts.push(event(&json!({
                "id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model,
                "choices": [], "usage": usage,
            })));
        }
        acts.push(Act::Send(Bytes::from_static(b"data: [DONE]\n\n")));
    }

    fn chunk(&self, delta: &Value, finish_reason: Option<&str>) -> Act {
        event(&json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
        }))
    }

    /// What is the same in every chunk of text, written once per answer.
    fn chunk_beginning(&self) -> String {
        let (id, model) = (json!(self.id), json!(self.model));
        let created = self.created;
        format!(
            "data: {{\"id\":{id},\"object\":\"chat.completion.chunk\",\"created\":{created},\"model\":{model},\
             \"choices\":[{{\"index\":0,\"delta\":{{\"content\":"
        )
    }

    fn completion(&self) -> Value {
        let message = json!({"role": "assistant", "content": self.tokens.concat(), "refusal": null});
        json!({
            "id": self.id, "object": "chat.completion", "created": self.created, "model": self.model,
            "choices": [{
                "index": 0, "message": message, "finish_reason": self.finish_reason, "logprobs": null,
            }],
            "usage": self.usage,
        })
    }
}

fn tokens(request: &ChatRequest, count: u32, dice: &mut Dice) -> Vec<String> {
    match request.form() {
        Form::Prose => prose::tokens(usize::try_from(count).unwrap_or(usize::MAX), dice),
        Form::AnyJson => pieces(&json!({"answer": prose::tokens(8, dice).concat()}).to_string()),
        Form::Json(form) => pieces(&schema::answer(form, dice).to_string()),
    }
}

/// A text in pieces of four letters, about what a token holds.
fn pieces(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    letters.chunks(4).map(|piece| piece.iter().collect()).collect()
}

fn text_chunk(beginning: &str, token: &str) -> Act {
    let text = Value::from(token);
    Act::Send(format!("{beginning}{text}}},\"finish_reason\":null}}]}}\n\n").into())
}

fn event(data: &Value) -> Act {
    Act::Send(format!("data: {data}\n\n").into())
}

fn error_in_stream() -> Value {
    json!({"error": {"message": "The simulator was told to fail.", "type": "server_error", "param": null, "code": null}})
}

fn push_wait(acts: &mut Vec<Act>, time: Duration) {
    if !time.is_zero() {
        acts.push(Act::Wait(time));
    }
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}
