//! From the settings to the model that the program asks.

use std::net::SocketAddr;
use std::sync::Arc;

use tracing::{info, warn};

use super::http_client::http_client;
use super::{Endpoint, OpenAiModel, Upstream, Upstreams};
use crate::config;
use crate::telemetry::metrics::Metrics;

const OPENAI: &str = "https://api.openai.com/v1";
/// The model when a key for OpenAI is all that is known: it answers anybody who has one, and costs little.
const OPENAI_MODEL: &str = "gpt-4o-mini";
/// The name of the one upstream of `llm.base_url` and `llm.api_key`.
const ONLY: &str = "primary";
/// Name and model of the built-in stand-in.
const SIMULATOR: &str = "simulator";

/// Why there is no model to ask.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither an upstream nor the simulator.
    #[error("no model is configured")]
    NoUpstream,
    /// An upstream's settings cannot be right.
    #[error("llm upstream {upstream:?}: {reason}")]
    Wrong {
        /// Which one.
        upstream: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The HTTP client cannot be made.
    #[error("the HTTP client for the model cannot be made")]
    Client(#[source] reqwest::Error),
}

/// Whether nothing is configured, so that the simulator has to answer.
pub fn needs_simulator(settings: &config::Llm) -> bool {
    settings.upstreams.is_empty() && settings.base_url.is_none() && settings.api_key.is_none()
}

/// Makes the model of this process: one HTTP client, all configured upstreams; without any, the simulator at its address.
/// `models` are the names that personas and routing bring. Opens no connection.
pub fn connect(
    settings: &config::Llm,
    simulator: Option<SocketAddr>,
    models: impl IntoIterator<Item = String>,
    metrics: Arc<Metrics>,
) -> Result<Arc<Upstreams>, ConnectError> {
    let simulated = needs_simulator(settings);
    let configured = if simulated { vec![simulated_by(simulator)?] } else { configured(settings) };
    let http = http_client(settings).map_err(ConnectError::Client)?;

    let mut upstreams = Vec::with_capacity(configured.len());
    for config::Upstream { name, base_url, api_key, model } in configured {
        let endpoint = Endpoint::new(&base_url, api_key.as_ref())
            .map_err(|reason| ConnectError::Wrong { upstream: name.clone(), reason })?;
        let chat = Arc::new(OpenAiModel::new(&name, endpoint, model.clone(), http.clone(), settings));
        upstreams.push(Upstream { name, default_model: model, chat });
    }
    if simulated {
        warn!(event = "simulator_in_use", "no model is configured: the built-in simulator answers");
    }
    metrics.model.simulator_in_use.set(&(), simulated.into());
    info!(
        event = "llm_manager_initialized",
        upstreams = upstreams.len(),
        simulated,
        "the model can be asked"
    );
    Ok(Arc::new(Upstreams::new(upstreams, models, settings, metrics)))
}

fn configured(settings: &config::Llm) -> Vec<config::Upstream> {
    if !settings.upstreams.is_empty() {
        return settings.upstreams.clone();
    }
    let fallback_model = settings.base_url.is_none().then(|| OPENAI_MODEL.to_owned());
    vec![config::Upstream {
        name: ONLY.into(),
        base_url: settings.base_url.clone().unwrap_or_else(|| OPENAI.into()),
        api_key: settings.api_key.clone(),
        model: settings.model.clone().or(fallback_model),
    }]
}

fn simulated_by(simulator: Option<SocketAddr>) -> Result<config::Upstream, ConnectError> {
    Ok(config::Upstream {
        name: SIMULATOR.into(),
        base_url: format!("http://{}/v1", simulator.ok_or(ConnectError::NoUpstream)?),
        api_key: None,
        model: Some(SIMULATOR.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> config::Llm {
        let mut table: toml::Table = config::DEFAULT_TOML.parse().unwrap();
        let llm = table["llm"].as_table_mut().unwrap();
        llm.extend(text.parse::<toml::Table>().unwrap());
        llm.clone().try_into().unwrap()
    }

    fn names(text: &str, simulator: Option<SocketAddr>) -> Result<Vec<String>, ConnectError> {
        let model = connect(&settings(text), simulator, [], Arc::new(Metrics::new()))?;
        Ok(model.snapshot().into_iter().map(|breaker| breaker.name).collect())
    }

    #[test]
    fn nothing_configured_is_the_simulator_and_without_one_an_error() {
        assert_eq!(names("", Some(([127, 0, 0, 1], 1).into())).unwrap(), ["simulator"]);
        assert!(matches!(names("", None), Err(ConnectError::NoUpstream)));
    }

    #[test]
    fn a_key_alone_is_openai() {
        let settings = settings("api_key = \"sk-1\"");
        let upstream = configured(&settings).remove(0);
        assert_eq!((upstream.base_url.as_str(), upstream.model.as_deref()), (OPENAI, Some(OPENAI_MODEL)));
        assert!(!needs_simulator(&settings));
    }

    #[test]
    fn upstreams_keep_their_order_and_replace_the_single_one() {
        let text = r#"
            base_url = "http://ignored/v1"
            upstreams = [{ name = "b", base_url = "http://b/v1" }, { name = "a", base_url = "https://a/v1/" }]
        "#;
        assert_eq!(names(text, None).unwrap(), ["b", "a"]);
    }

    #[test]
    fn a_wrong_address_or_key_is_found_at_the_start_and_not_repeated() {
        for text in ["base_url = \"example.org/v1\"", "base_url = \"http://a/v1\"\napi_key = \"a\\nb\""] {
            let error = names(text, None).unwrap_err();
            assert!(matches!(error, ConnectError::Wrong { .. }), "{text}");
            assert!(!error.to_string().contains("example.org"));
        }
    }
}
