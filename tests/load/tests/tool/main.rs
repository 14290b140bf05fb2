//! The tool as it is used: against servers that do wrong, and against the service, which must not.

#![expect(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test that cannot go on fails")]

mod fake;
mod real;

use std::process::Command;

use serde_json::Value;

use fake::Fake;
use real::Service;

/// Runs the tool; its results, and whether it was content.
fn load(arguments: &[&str]) -> (Value, bool) {
    static RUNS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let run = RUNS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("polylogue-load-{}-{run}.json", std::process::id()));
    let tool = Command::new(env!("CARGO_BIN_EXE_polylogue-load"))
        .args(arguments)
        .args(["--quiet", "--strict", "--json", file.to_str().unwrap()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&tool.stderr);
    let json = std::fs::read_to_string(&file).unwrap_or_else(|_| panic!("no results: {said}"));
    std::fs::remove_file(&file).unwrap();
    (serde_json::from_str(&json).unwrap(), tool.status.success())
}

fn streams_of(fake: &Fake) -> (Value, bool) {
    load(&[
        "chat",
        "--url",
        &fake.url,
        "--mix",
        "sse",
        "--personas",
        "guide",
        "--concurrency",
        "2",
        "--warm-up",
        "0s",
        "--duration",
        "300ms",
        "--resume-attempts",
        "0",
    ])
}

/// One request is due every 2 ms for 4 s, whatever the answers do.
fn due(fake: &Fake, places: &[&str]) -> Value {
    let pace = ["--rate", "500", "--arrivals", "uniform", "--warm-up", "0s", "--duration", "4s"];
    let all: Vec<_> =
        ["direct", "--url", &fake.url].into_iter().chain(pace).chain(places.iter().copied()).collect();
    load(&all).0
}

fn number(result: &Value, name: &str) -> u64 {
    result[name].as_u64().unwrap_or_else(|| panic!("{name}: {result}"))
}

#[test]
fn whole_streams_are_completed_turns() {
    let (result, is_content) = streams_of(&Fake::streams(|events| events));
    assert!(is_content && number(&result, "completed") > 0, "{result}");
}

#[test]
fn a_lost_event_is_counted() {
    let (result, is_content) = streams_of(&Fake::streams(|mut events| {
        events.remove(4);
        events
    }));
    assert!(!is_content && number(&result, "lost_events") > 0, "{result}");
    assert_eq!(number(&result, "completed"), 0, "{result}");
}

#[test]
fn a_doubled_event_is_counted() {
    let (result, is_content) = streams_of(&Fake::streams(|mut events| {
        events.insert(4, events[4].clone());
        events
    }));
    assert!(!is_content && number(&result, "doubled_events") > 0, "{result}");
    assert_eq!(number(&result, "lost_events"), 0, "{result}");
}

#[test]
fn events_that_changed_places_are_counted() {
    let (result, is_content) = streams_of(&Fake::streams(|mut events| {
        events.swap(3, 4);
        events
    }));
    assert!(!is_content && number(&result, "reordered_events") > 0, "{result}");
    assert_eq!(number(&result, "lost_events"), 0, "{result}");
}

#[test]
fn a_text_that_differs_is_counted() {
    let (result, is_content) = streams_of(&Fake::streams(|mut events| {
        events[5] = events[5].replace("Once upon", "Once below");
        events
    }));
    assert!(!is_content && number(&result, "wrong_texts") > 0, "{result}");
}

#[test]
fn a_stream_that_ends_too_early_is_an_error() {
    let (result, is_content) = streams_of(&Fake::streams(|mut events| {
        events.pop();
        events
    }));
    assert!(!is_content && result["errors"]["stream_truncated"].as_u64() > Some(0), "{result}");
}

#[test]
fn a_refusal_is_counted_by_its_code_and_is_no_error() {
    let fake = Fake::refuses(503, "overloaded");
    let (result, is_content) = streams_of(&fake);
    assert!(is_content && result["refused"]["overloaded"].as_u64() > Some(0), "{result}");
    assert_eq!(
        (number(&result, "completed"), &result["statuses"]["503"]),
        (0, &result["refused"]["overloaded"])
    );
}

#[test]
fn who_was_due_while_a_server_stood_still_waited_and_that_is_counted() {
    let fake = Fake::stalls_once(300);
    // With few places, so that most of those who waited had not even been asked for when the server went on.
    let result = due(&fake, &["--max-in-flight", "4"]);
    // A quarter of all was due while it stood still: one in ten waited at least 600 ms, one in a hundred at least 960.
    assert!(result["latency_ms"]["p99"].as_f64().unwrap() > 900.0, "{result}");
    assert!(result["latency_ms"]["p90"].as_f64().unwrap() > 500.0, "{result}");
    assert_eq!(number(&result, "completed"), 1_999, "{result}");
}

#[test]
fn arrivals_that_find_no_place_to_wait_are_counted() {
    let fake = Fake::stalls_once(300);
    let result = due(&fake, &["--max-in-flight", "2", "--max-waiting", "50"]);
    let not_asked = number(&result, "not_asked");
    assert!(not_asked > 0, "{result}");
    assert_eq!(number(&result, "completed") + not_asked, 1_999, "{result}");
}

#[test]
fn the_service_loses_nothing_over_any_door_and_over_dropped_connections() {
    let service = Service::start();
    let pid = service.pid();
    let (result, is_content) = load(&[
        "chat",
        "--url",
        &service.url,
        "--mix",
        "json,sse,ws,follow",
        "--personas",
        "2",
        "--concurrency",
        "8",
        "--turns-per-conversation",
        "3",
        "--reconnects",
        "0.5",
        "--idle-sockets",
        "20",
        "--warm-up",
        "500ms",
        "--duration",
        "2s",
        "--service-pid",
        &pid,
    ]);
    assert!(is_content, "{result}");
    for kind in ["json", "sse", "ws", "follow"] {
        assert!(result["completed_by_kind"][kind].as_u64() > Some(0), "{kind}: {result}");
    }
    assert!(number(&result, "dropped_connections") > 0, "{result}");
    assert_eq!((number(&result, "lost_events"), number(&result, "doubled_events")), (0, 0));
    assert_eq!(result["idle_sockets"]["open"], 20);
    assert!(result["process"][0]["cpu_seconds"].as_f64() > Some(0.0), "{result}");
}
