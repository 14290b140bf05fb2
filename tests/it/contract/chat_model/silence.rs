//! What is said to a model, by a model, or about a key, is in no log line of ours.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use super::wire::{Step, finish, line, response, says, stream, stream_head, text};
use super::*;
use crate::support::Log;

#[tokio::test]
async fn no_log_line_holds_what_was_said_or_the_key() {
    // With a single subscriber alive, tracing asks the thread that comes first by a log line whether anybody listens, and
    // keeps its answer for all; the other tests run beside this one and do not listen. With two it asks both subscribers.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let log = Log::default();
    let writer = log.clone();
    // Everything of ours; async-openai logs whatever it cannot parse and is switched off, as the service does.
    let _logging = tracing::subscriber::set_default(
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new("info,polylogue=trace,async_openai=off"))
            .with_span_events(FmtSpan::FULL)
            .with_writer(move || writer.clone())
            .finish(),
    );

    let secret = "\"code\":\"SECRET words\",\"message\":\"SECRET\"";
    let answers = [
        says("SECRET"),
        stream([text("SECRET"), line("data: SECRET"), finish("stop")]),
        vec![stream_head(), text("SECRET"), Step::HangUp],
        stream([line(&format!("data: {{\"error\":{{{secret}}}}}"))]),
        response("400 Bad Request", "", &format!("{{\"error\":{{{secret}}}}}")),
        response("500 Internal Server Error", "", "SECRET"),
        response("200 OK", "", "SECRET"),
    ];
    for answer in answers {
        let upstream = wire::Upstream::that(answer).await;
        let model = upstreams(&[upstream.address], &with_attempts(2), &Arc::new(Metrics::new()));
        let mut question = request();
        question.prompt[3].content = "SECRET".into();
        if let Err(error) = model.complete(question.clone()).await {
            tracing::warn!(target: "polylogue", error = &error as &dyn std::error::Error, ?question, "failed");
        }
        if let Ok(stream) = model.stream(question).await
            && let (_, Err(error)) = read(stream).await
        {
            tracing::warn!(target: "polylogue", error = &error as &dyn std::error::Error, "failed");
        }
    }

    let log = log.text();
    for event in ["model_retried", "model_refused", "model_call"] {
        assert!(log.contains(event), "{event} in {log}");
    }
    assert!(!log.contains("SECRET") && !log.contains("sk-test"), "{log}");
}
