//! `polylogue ask`: one chat turn from outside, for images without a shell or curl (a chart's test, a smoke test).

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::print;
use crate::exit::Failure;
use crate::words::PersonaId;

/// Above the default of `turns.deadline`, so that the service's own answer comes first.
const ANSWER_LIMIT: Duration = Duration::from_secs(150);
/// How long nobody may be listening: an address that was just made takes its time to lead somewhere.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// The pause between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(500);

/// What is asked, and of whom.
#[derive(Clone, Debug, Args)]
pub struct Question {
    /// What to say.
    message: String,
    /// The service's address, without a path.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Who shall answer; may be given again. Whoever routing chooses, if absent.
    #[arg(long, value_name = "ID", value_parser = persona)]
    persona: Vec<PersonaId>,
    /// A file that holds the API key or token to show.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// A PEM file with the authorities to believe instead of the system's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// Asks, prints the turn and fails unless it was completed.
pub async fn ask(question: &Question) -> Result<(), Failure> {
    let credential = question.key_file.as_deref().map(credential).transpose()?;
    let client = client(question.ca_file.as_deref())?;
    let turn = answer(&client, question, credential.as_ref()).await?;
    print::json(&turn)?;
    match turn["status"].as_str() {
        Some("completed") => Ok(()),
        _ => Err(Failure::Unhealthy(format!("{}: the turn was not completed", question.url))),
    }
}

async fn answer(
    client: &reqwest::Client,
    question: &Question,
    credential: Option<&SecretString>,
) -> Result<Value, Failure> {
    let url = format!("{}/api/v1/chat", question.url.trim_end_matches('/'));
    let mut body = json!({"message": question.message});
    if !question.persona.is_empty() {
        body["personas"] = json!(question.persona);
    }
    let since = Instant::now();
    loop {
        let mut request = client.post(&url).json(&body);
        if let Some(credential) = credential {
            request = request.bearer_auth(credential.expose_secret());
        }
        match request.send().await {
            Ok(answer) => return read(&url, answer).await,
            // Nothing was sent yet, so nothing is asked twice.
            Err(error) if error.is_connect() && since.elapsed() < CONNECT_LIMIT => sleep(PAUSE).await,
            Err(error) => return Err(unanswered(&url, &error)),
        }
    }
}

async fn read(url: &str, answer: reqwest::Response) -> Result<Value, Failure> {
    let status = answer.status();
    let body: Value = answer.json().await.map_err(|error| unanswered(url, &error))?;
    if status.is_success() {
        return Ok(body);
    }
    let detail = body["detail"].as_str().or(body["title"].as_str()).unwrap_or_default();
    Err(Failure::Unhealthy(format!("{url} answered {}: {detail}", status.as_u16())))
}

fn client(authorities: Option<&Path>) -> Result<reqwest::Client, Failure> {
    let mut builder = reqwest::Client::builder()
        .timeout(ANSWER_LIMIT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy();
    if let Some(path) = authorities {
        let pem = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
        let trusted =
            reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| unreadable(path, &error))?;
        builder = builder.tls_certs_only(trusted);
    }
    builder.build().map_err(|error| Failure::Unavailable(format!("the HTTP client: {}", chain(&error))))
}

fn credential(path: &Path) -> Result<SecretString, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    Ok(text.trim().to_owned().into())
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Unavailable(format!("cannot read {}: {error}", path.display()))
}

fn unanswered(url: &str, error: &reqwest::Error) -> Failure {
    Failure::Unhealthy(format!("{url} does not answer: {}", chain(error)))
}

/// The error with its causes, outermost first; reqwest alone says only that something went wrong.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

fn persona(text: &str) -> Result<PersonaId, String> {
    text.parse().map_err(|invalid: crate::words::Invalid| invalid.to_string())
}
