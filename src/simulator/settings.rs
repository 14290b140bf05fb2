//! How the simulator answers. All of it can be changed while it runs.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config;
use crate::words::Invalid;

/// An answer's tokens are made before the first is sent; this bounds the memory of one.
const MAX_TOKENS: u32 = 100_000;
/// Rules are tried one by one on every request.
const MAX_RULES: usize = 100;

/// How the simulator answers. In JSON (`/simulator/settings`) the members have the same names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How long the first token takes, in milliseconds.
    pub time_to_first_token_ms: u64,
    /// How long every further token takes, in milliseconds.
    pub token_gap_ms: u64,
    /// How many tokens an answer has.
    pub tokens: NonZeroU32,
    /// The share of requests that get a 500, from 0 to 1; which ones depends on the seed and their number.
    pub error_rate: f64,
    /// Another seed gives other answers to the same prompts.
    pub seed: u64,
    /// What happens to some requests; the first rule that fits a request applies.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

impl From<&config::Simulator> for Settings {
    fn from(settings: &config::Simulator) -> Self {
        Self {
            time_to_first_token_ms: millis(*settings.time_to_first_token),
            token_gap_ms: millis(*settings.token_gap),
            tokens: settings.tokens,
            error_rate: settings.error_rate,
            seed: settings.seed,
            rules: Vec::new(),
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Settings {
    /// Says what is wrong, if anything.
    pub(super) fn check(&self) -> Result<(), Invalid> {
        let says = self.rules.iter().filter_map(|rule| rule.says.as_ref()).map(Vec::len).max().unwrap_or(0);
        if !(0.0..=1.0).contains(&self.error_rate) {
            return Err(Invalid("error_rate must be from 0 to 1"));
        }
        if self.tokens.get() > MAX_TOKENS || says > MAX_TOKENS as usize {
            return Err(Invalid("an answer may have at most 100000 tokens"));
        }
        if self.rules.len() > MAX_RULES {
            return Err(Invalid("there may be at most 100 rules"));
        }
        Ok(())
    }

    /// The first rule for a request that says `texts`. One that was for a number of requests is now for one less.
    pub(super) fn apply_rule<'a>(&mut self, texts: impl Iterator<Item = &'a str> + Clone) -> Rule {
        let fits = |rule: &Rule| match &rule.when_contains {
            Some(part) => texts.clone().any(|text| text.contains(part.as_str())),
            None => true,
        };
        let due = |rule: &Rule| rule.times != Some(0) && fits(rule);
        let Some(at) = self.rules.iter().position(due) else { return Rule::default() };
        let rule = self.rules[at].clone();
        match &mut self.rules[at].times {
            Some(left @ 2..) => *left -= 1,
            Some(_) => drop(self.rules.remove(at)),
            None => {}
        }
        rule
    }
}

/// What happens to the requests it fits. Everything is optional and goes together: a scripted answer may be cut.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Fits only requests with a message that contains this text, for example a persona's system prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_contains: Option<String>,
    /// For this many requests, then it is gone; absent: until it is taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// What goes wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// The answer, token by token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub says: Option<Vec<String>>,
    /// Stops after this many tokens until somebody says go on (`POST /simulator/continue`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_after: Option<usize>,
    /// Another finish reason than `stop`, for example `content_filter`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// Instead of the general one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_to_first_token_ms: Option<u64>,
    /// Instead of the general one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_gap_ms: Option<u64>,
}

impl Rule {
    /// The answer is exactly these tokens.
    pub fn says<T: Into<String>>(tokens: impl IntoIterator<Item = T>) -> Self {
        Self { says: Some(tokens.into_iter().map(Into::into).collect()), ..Self::default() }
    }

    /// This goes wrong.
    pub fn fails(fault: Fault) -> Self {
        Self { fault: Some(fault), ..Self::default() }
    }

    /// Only requests with a message that contains `part`.
    pub fn when_contains(mut self, part: impl Into<String>) -> Self {
        self.when_contains = Some(part.into());
        self
    }

    /// Only the next `times` requests.
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Stops after `tokens` until [`super::Controls::go_on`].
    pub fn pausing_after(mut self, tokens: usize) -> Self {
        self.pause_after = Some(tokens);
        self
    }
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// 429 with `Retry-After`.
    RateLimited {
        /// Its value, in seconds.
        retry_after_s: u32,
    },
    /// 500.
    ServerError,
    /// 503 with `Retry-After`.
    Unavailable {
        /// Its value, in seconds.
        retry_after_s: u32,
    },
    /// 400, as for a request that the model cannot take.
    RefuseRequest,
    /// 401, as for a wrong key.
    RefuseAuth,
    /// Never answers; a stream has its headers and nothing else.
    Stall,
    /// Stops sending, and keeps the connection.
    StallMidway {
        /// After so many tokens.
        after_tokens: usize,
    },
    /// Closes the connection in the middle of a chunk.
    CutStream {
        /// After so many tokens.
        after_tokens: usize,
    },
    /// An error inside the stream, with status 200.
    ErrorInStream {
        /// After so many tokens.
        after_tokens: usize,
    },
    /// The whole text, then the stream ends as if all were well, without a finish reason and `[DONE]`.
    NoFinishReason,
    /// Something that is not JSON, with status 200.
    Garbage,
}
