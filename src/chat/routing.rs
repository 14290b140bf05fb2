//! Who answers a message.

use std::sync::Arc;

use moka::future::Cache;
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use super::cast::Cast;
use super::mention::mentioned;
use super::meter::ModelClock;
use super::personas::{Persona, Personas};
use super::plain::one_line;
use super::prompt;
use crate::config;
use crate::flags::{Flag, Flags};
use crate::llm::{AnswerSchema, ChatModel, LlmError, ModelRequest};
use crate::telemetry::Chain;
use crate::telemetry::metrics::{Metrics, ModelCause, RouteSource};
use crate::words::{AllowedPersonas, Message, PersonaId, Principal, RequestId, Role, Routing, RoutingSource};

/// What routing may look at.
pub struct Question<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// Whom they may ask.
    pub allowed: &'a AllowedPersonas,
    /// Ties the model call to the request.
    pub request_id: &'a RequestId,
    /// What the user says.
    pub message: &'a str,
    /// Whom the caller listed.
    pub explicit: &'a [PersonaId],
    /// What was said before.
    pub history: &'a [Message],
    /// Nobody waits beyond this moment.
    pub deadline: Instant,
    /// Counts how long the model works for it.
    pub clock: &'a ModelClock,
}

/// Chooses who answers, by the first of these that says something: the caller's list, mentions, there being only one,
/// the cache, the model, the default persona.
pub struct Router {
    personas: Arc<Personas>,
    model: Arc<dyn ChatModel>,
    flags: Arc<Flags>,
    metrics: Arc<Metrics>,
    /// Whom the model chose, and never why: its sentence was made from one conversation, and may be read in another.
    cache: Cache<[u8; 32], Vec<PersonaId>>,
    settings: config::Routing,
    most: usize,
}

/// What the model decided.
struct Decision {
    personas: Vec<PersonaId>,
    reason: String,
}

/// The structured answer that is asked of the model.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Choice {
    /// The ids of the personas that should answer, the most important first.
    personas: Vec<String>,
    /// One short sentence why.
    reason: String,
}

/// Why the model's choice cannot be used.
#[derive(Debug, thiserror::Error)]
enum ChoiceError {
    #[error("the model could not be asked")]
    Model(#[from] LlmError),
    #[error("the answer is no choice: {0}")]
    Wrong(&'static str),
    #[error("the model did not choose in time")]
    Late,
}

impl Router {
    /// Makes a router for these personas; `most` is `turns.max_personas`.
    pub fn new(
        personas: Arc<Personas>,
        model: Arc<dyn ChatModel>,
        flags: Arc<Flags>,
        metrics: Arc<Metrics>,
        settings: &config::Routing,
        most: usize,
    ) -> Self {
        let cache = Cache::builder()
            .max_capacity(settings.cache_size.get() as u64)
            .time_to_live(*settings.cache_ttl)
            .build();
        Self { personas, model, flags, metrics, cache, settings: settings.clone(), most }
    }

    /// How many personas may answer this principal.
    pub fn most(&self, principal: &Principal) -> usize {
        self.flags.max_personas(principal, self.most).clamp(1, self.most)
    }

    /// The personas there are for whoever asks.
    fn cast<'a>(&'a self, question: &Question<'a>) -> Cast<'a> {
        Cast::new(&self.personas, question.allowed)
    }

    /// Decides. Never fails: without a decision the default persona answers.
    pub async fn decide(&self, question: &Question<'_>) -> Routing {
        let started = Instant::now();
        let routing = self.choose(question).await;
        let source = label(routing.source);
        self.metrics.routing.decisions.inc(&(source,));
        self.metrics.routing.duration.observe(&(source,), started.elapsed());
        routing
    }

    async fn choose(&self, question: &Question<'_>) -> Routing {
        if let Some(routing) = self.without_asking(question) {
            return routing;
        }
        if !self.flags.is_on(Flag::Routing, question.principal) {
            return self.fallback(question, "routing is switched off");
        }
        let key = self.cache_key(question);
        let cached = self.flags.is_on(Flag::RoutingCache, question.principal);
        if let Some(personas) = if cached { self.cache.get(&key).await } else { None } {
            return routing(personas, RoutingSource::Cache, "decided before");
        }
        match self.ask_in_time(question).await {
            Ok(decision) => {
                if cached {
                    self.cache.insert(key, decision.personas.clone()).await;
                }
                routing(decision.personas, RoutingSource::Model, decision.reason)
            }
            Err(error) => {
                warn!(event = "routing_fallback", request_id = %question.request_id, error = %Chain(&error), "the model did not route");
                self.fallback(question, "nobody else was chosen")
            }
        }
    }

    /// Explicit list, mentions, only persona.
    fn without_asking(&self, question: &Question<'_>) -> Option<Routing> {
        let most = self.most(question.principal);
        let ids = |personas: Vec<&Persona>| personas.into_iter().take(most).map(|p| p.id.clone()).collect();
        if !question.explicit.is_empty() {
            return Some(routing(
                question.explicit.to_vec(),
                RoutingSource::Explicit,
                "asked for by the caller",
            ));
        }
        let named = mentioned(question.message, self.cast(question));
        if !named.is_empty() {
            return Some(routing(ids(named), RoutingSource::Mention, "named in the message"));
        }
        let all: Vec<_> = self.cast(question).all().collect();
        (all.len() == 1).then(|| routing(ids(all), RoutingSource::Single, "there is only one"))
    }

    fn fallback(&self, question: &Question<'_>, reason: &str) -> Routing {
        let default = self.cast(question).default_persona().map(|persona| persona.id.clone());
        routing(default.into_iter().collect(), RoutingSource::Fallback, reason)
    }

    async fn ask_in_time(&self, question: &Question<'_>) -> Result<Decision, ChoiceError> {
        let deadline = question.deadline.min(Instant::now() + *self.settings.timeout);
        timeout_at(deadline, self.ask(question, deadline)).await.map_err(|_| ChoiceError::Late)?
    }

    /// Asks; an answer that is no choice is asked for once more, with its fault named.
    async fn ask(&self, question: &Question<'_>, deadline: Instant) -> Result<Decision, ChoiceError> {
        let (most, cast) = (self.most(question.principal), self.cast(question));
        let mut request = ModelRequest {
            model: self.settings.model.clone(),
            prompt: prompt::of_routing(cast, question.history, question.message, most),
            temperature: Some(0.0),
            max_tokens: Some(ANSWER_TOKENS),
            schema: Some(schema(cast)),
            request_id: question.request_id.clone(),
            deadline,
            cause: ModelCause::First,
        };
        let first = question.clock.during(self.model.complete(request.clone())).await?;
        let fault = match read(cast, &first.text, most) {
            Ok(decision) => return Ok(decision),
            Err(fault) => fault,
        };
        debug!(event = "routing_repair", request_id = %question.request_id, fault, "asking once more");
        request.prompt.push(prompt::repair(fault));
        request.cause = ModelCause::Repair;
        let second = question.clock.during(self.model.complete(request)).await?;
        read(cast, &second.text, most).map_err(ChoiceError::Wrong)
    }

    /// Whoever asks, the persona set and whom of it they may ask, the message without differences of case and spacing,
    /// and who spoke last. Whoever asks is part of it: a decision was made with what was said before in sight, so its
    /// reason may tell of that, and somebody else's talk must not steer ours.
    fn cache_key(&self, question: &Question<'_>) -> [u8; 32] {
        let speaker = question.history.iter().rev().find(|said| said.role == Role::Assistant);
        let speaker = speaker.and_then(|said| said.persona.as_ref()).map_or("", PersonaId::as_str);
        let principal = question.principal.to_string();
        let cast = self.cast(question);
        let mut hash = Sha256::new();
        hash.update(cast.fingerprint());
        hash.update((self.most(question.principal) as u64).to_be_bytes());
        let ids = cast.all().map(|persona| persona.id.as_str());
        for text in ids.chain(["", &principal, speaker]) {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        for word in question.message.split_whitespace() {
            hash.update(word.to_lowercase());
            hash.update(b" ");
        }
        hash.finalize().into()
    }
}

/// The schema of [`Choice`], with the ids that may be chosen as the only ones allowed.
fn schema(cast: Cast<'_>) -> AnswerSchema {
    let mut schema = schemars::schema_for!(Choice).to_value();
    let ids: Vec<_> = cast.all().map(|persona| persona.id.as_str()).collect();
    schema["properties"]["personas"]["items"] = serde_json::json!({ "type": "string", "enum": ids });
    AnswerSchema { name: "routing", schema }
}

/// What a model chose, as far as it may: nobody but the cast, each once, at most so many, and a reason of one line.
fn read(cast: Cast<'_>, answer: &str, most: usize) -> Result<Decision, &'static str> {
    let choice: Choice =
        serde_json::from_str(answer.trim()).map_err(|_| "it is not JSON of the given schema")?;
    let mut personas: Vec<PersonaId> = Vec::new();
    for id in choice.personas.iter().filter_map(|name| cast.named(name)).map(|persona| &persona.id) {
        if !personas.contains(id) {
            personas.push(id.clone());
        }
    }
    personas.truncate(most);
    if personas.is_empty() {
        return Err("it names no persona that exists");
    }
    Ok(Decision { personas, reason: one_line(&choice.reason, REASON_CHARACTERS) })
}

/// Enough for all ids and one sentence; a model that rambles is cut.
const ANSWER_TOKENS: u32 = 200;

/// A reason is shown to people; this is a long sentence.
const REASON_CHARACTERS: usize = 300;

fn routing(personas: Vec<PersonaId>, source: RoutingSource, reason: impl Into<String>) -> Routing {
    Routing { personas, source, reason: reason.into() }
}

fn label(source: RoutingSource) -> RouteSource {
    match source {
        RoutingSource::Explicit => RouteSource::Explicit,
        RoutingSource::Mention => RouteSource::Mention,
        RoutingSource::Single => RouteSource::Single,
        RoutingSource::Cache => RouteSource::Cache,
        RoutingSource::Model => RouteSource::Model,
        RoutingSource::Fallback => RouteSource::Fallback,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            prop::sample::select(vec!["guide", "skeptic", "HISTORIAN", "critic", "nobody", "*", ""])
                .prop_map(str::to_owned),
            any::<String>(),
        ];
        let choice = (prop::collection::vec(name, 0..80), any::<String>()).prop_map(|(personas, reason)| {
            serde_json::json!({"personas": personas, "reason": reason}).to_string()
        });
        prop_oneof![choice, any::<String>(), "[{}\"a-z:,\\[\\]]{0,60}"]
    }

    proptest! {
        #[test]
        fn whatever_a_model_answers_only_the_allowed_are_chosen_each_once_and_not_too_many(
            answer in answer(), most in 1_usize..6, allowed in prop::sample::subsequence(vec!["guide", "skeptic", "historian"], 0..=3),
        ) {
            let personas = Personas::load(None, None).unwrap();
            let allowed = AllowedPersonas::only(allowed.into_iter().map(|id| id.parse().unwrap()));
            if let Ok(decision) = read(Cast::new(&personas, &allowed), &answer, most) {
                let mut ids = decision.personas.clone();
                prop_assert!(!ids.is_empty() && ids.len() <= most);
                prop_assert!(ids.iter().all(|id| allowed.contains(id)), "{ids:?}");
                ids.sort();
                ids.dedup();
                prop_assert_eq!(ids.len(), decision.personas.len());
                prop_assert!(decision.reason.chars().count() <= REASON_CHARACTERS);
                prop_assert!(!decision.reason.contains(char::is_control));
            }
        }
    }

    #[test]
    fn an_answer_with_more_members_than_the_schema_has_is_none() {
        let (personas, allowed) = (Personas::load(None, None).unwrap(), AllowedPersonas::all());
        let answer = r#"{"personas": ["guide"], "reason": "x", "system": "obey"}"#;
        assert!(read(Cast::new(&personas, &allowed), answer, 3).is_err());
    }
}
