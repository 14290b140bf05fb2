//! The program as an operator meets it: flags, settings, exit codes, signals.

mod beginning;
mod ending;
pub mod service;

use std::fs;
use std::net::TcpListener;
use std::process::{Output, Stdio};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::polylogue;

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    polylogue(arguments, environment).stdin(Stdio::null()).output().unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

#[test]
fn wrong_flags_end_with_64_and_help_with_0() {
    assert_eq!(code(&run(&["--no-such-flag"], &[])), Some(64));
    assert_eq!(code(&run(&["no-such-command"], &[])), Some(64));
    assert_eq!(code(&run(&["--set", "without-value"], &[])), Some(64));
    assert_eq!(code(&run(&["--help"], &[])), Some(0));
    assert_eq!(code(&run(&["--version"], &[])), Some(0));
}

#[test]
fn a_wrong_configuration_ends_with_78_and_names_every_problem() {
    let environment = [
        ("POLYLOGUE__LLM__TIMOUT", "30s"),
        ("POLYLOGUE__TURNS__DEADLINE", "soon"),
        ("HEARTBEAT_TIMEOUT_SECONDS", "60"),
    ];
    for command in ["serve", "check-config", "config", "simulate-llm"] {
        let output = run(&[command, "--set", "limits.policies.default.quota=0"], &environment);
        assert_eq!(code(&output), Some(78), "{command}: {}", said(&output));
        let said = said(&output);
        assert_eq!(said.lines().count(), 4, "{said}");
        assert!(said.contains(
            "environment POLYLOGUE__LLM__TIMOUT: unknown key llm.timout (did you mean llm.timeout?)"
        ));
        assert!(said.contains(
            "environment POLYLOGUE__TURNS__DEADLINE: turns.deadline = \"soon\": must be a duration"
        ));
        assert!(said.contains("flag --set: limits.policies.default.quota = 0: "));
    }
}

#[test]
fn a_file_that_is_not_there_ends_with_69() {
    let output = run(&["check-config", "--config", "/nowhere/polylogue.toml"], &[]);
    assert_eq!(code(&output), Some(69), "{}", said(&output));
    let output = run(&["check-config"], &[("OPENAI_API_KEY_FILE", "/nowhere/key")]);
    assert_eq!(code(&output), Some(69), "{}", said(&output));
}

#[test]
fn the_settings_in_force_are_printed_without_secrets_and_can_be_given_back() {
    let environment = [("OPENAI_API_KEY", "sk-secret"), ("REDIS_URL", "redis://:sk-secret@localhost")];
    let output = run(&["config", "--listen", "127.0.0.1:0"], &environment);
    assert_eq!(code(&output), Some(0));
    let shown = said(&output);
    assert!(!shown.contains("sk-secret"), "{shown}");
    assert!(shown.contains("listen = \"127.0.0.1:0\"  # flag --listen"), "{shown}");

    let folder = std::env::temp_dir().join(format!("polylogue-process-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("given-back.toml");
    fs::write(&file, &run(&["config", "--set", "turns.beat=2s"], &[]).stdout).unwrap();
    let again = run(&["config", "--config", file.to_str().unwrap()], &[]);
    fs::remove_dir_all(&folder).unwrap();
    assert!(said(&again).contains("beat = \"2s\"  # file "), "{}", said(&again));
}

#[test]
fn a_right_configuration_is_said_to_be_right() {
    let output = run(&["check-config", "--set", "server.grace=1s"], &[]);
    assert_eq!(code(&output), Some(0));
    let said = said(&output);
    assert!(
        said.contains("warning: server.grace (1s)") && said.contains("the configuration is right"),
        "{said}"
    );
}

#[test]
fn the_documents_and_the_flow_are_printed_without_starting() {
    let openapi: serde_json::Value = serde_json::from_slice(&run(&["openapi"], &[]).stdout).unwrap();
    assert_eq!(openapi["openapi"], "3.1.0");
    let older = run(&["openapi", "--version", "3.0"], &[]);
    let older: serde_json::Value = serde_json::from_slice(&older.stdout).unwrap();
    assert!(older["openapi"].as_str().unwrap().starts_with("3.0"));
    assert!(said(&run(&["openapi", "--asyncapi"], &[])).contains("asyncapi: "));
    let flow = said(&run(&["graph"], &[]));
    for step in ["recall", "route", "reply", "remember"] {
        assert!(flow.contains(step), "{flow}");
    }
}

#[test]
fn a_reader_that_wants_no_more_is_no_error() {
    let mut child = polylogue(&["config", "--reference"], &[]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[tokio::test]
async fn healthcheck_tells_the_living_from_the_dead() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let check = |address: String| {
        tokio::task::spawn_blocking(move || {
            run(&["healthcheck", "--set", &format!("server.management_listen={address}")], &[])
        })
    };

    for (status, expected) in [("200 OK", 0), ("503 Service Unavailable", 1)] {
        let checking = check(address.clone());
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 256];
        let length = stream.read(&mut request).await.unwrap();
        assert!(request[..length].starts_with(b"GET /livez HTTP/1.1\r\n"));
        stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await.unwrap();
        let output = checking.await.unwrap();
        assert_eq!(code(&output), Some(expected), "{}", said(&output));
    }

    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    assert_eq!(code(&check(closed).await.unwrap()), Some(1));
}
