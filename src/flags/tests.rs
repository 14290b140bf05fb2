use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::telemetry::metrics::Outcome;

/// A directory that goes with the test.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let place = std::env::temp_dir().join(format!("polylogue-flags-{}", crate::words::new_ulid(0)));
        std::fs::create_dir(&place).unwrap();
        Self(place)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn caller(last: u8) -> Principal {
    Principal::Address(IpAddr::from([192, 0, 2, last]).into())
}

fn document(name: &str, definition: Value) -> String {
    json!({"$schema": "https://flagd.dev/schema/v0/flags.json", "flags": {name: definition}}).to_string()
}

fn on_off(targeting: Value) -> Value {
    json!({"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off", "targeting": targeting})
}

fn load(text: &str) -> Result<Arc<Flags>, FlagsError> {
    Flags::load(Some(&Place::new().file("flags.json", text)))
}

fn fault(text: &str) -> String {
    load(text).unwrap_err().to_string()
}

#[test]
fn without_a_file_every_flag_has_its_default() {
    let flags = Flags::load(None).unwrap();
    for flag in [Flag::Routing, Flag::RoutingCache, Flag::ParallelReplies] {
        assert!(flags.is_on(flag, &caller(1)));
    }
    assert_eq!(flags.max_personas(&caller(1), 5), 5);
}

#[test]
fn a_flag_without_targeting_says_the_same_to_everyone() {
    let flags = load(&document("routing", on_off(json!({})))).unwrap();
    assert!(!flags.is_on(Flag::Routing, &caller(1)));
    assert!(flags.is_on(Flag::RoutingCache, &caller(1)), "the others keep their defaults");
}

#[test]
fn a_disabled_flag_has_the_programs_default() {
    let mut definition = on_off(json!({}));
    definition["state"] = "DISABLED".into();
    assert!(load(&document("routing", definition)).unwrap().is_on(Flag::Routing, &caller(1)));
}

#[test]
fn a_rollout_reaches_some_callers_and_always_the_same() {
    let rollout = json!({"fractional": [{"var": "targetingKey"}, ["on", 25], ["off", 75]]});
    let flags = load(&document("parallel_replies", on_off(rollout))).unwrap();
    let lucky = || (0..=255).filter(|n| flags.is_on(Flag::ParallelReplies, &caller(*n))).collect::<Vec<_>>();
    assert!((40..90).contains(&lucky().len()), "{:?}", lucky());
    assert_eq!(lucky(), lucky());
}

#[test]
fn the_number_of_personas_can_be_lowered_but_not_raised_above_the_bound() {
    let personas =
        |count: u64| json!({"state": "ENABLED", "variants": {"it": count}, "defaultVariant": "it"});
    let few = load(&document("max_personas", personas(2))).unwrap();
    let many = load(&document("max_personas", personas(50))).unwrap();
    assert_eq!((few.max_personas(&caller(1), 5), many.max_personas(&caller(1), 5)), (2, 5));
}

#[test]
fn an_unknown_flag_is_an_error_that_names_the_known_ones() {
    assert_eq!(
        fault(&document("rooting", on_off(json!({})))),
        "there is no flag \"rooting\"; there are routing, routing_cache, parallel_replies, max_personas"
    );
}

#[test]
fn what_is_not_understood_is_an_error_that_names_flag_and_reason() {
    let table = [
        (
            json!({"if": [true, "on", "off"]}),
            "flag routing: targeting knows only \"fractional\", with a list",
        ),
        (json!({"fractional": [["on", 1], ["of", 1]]}), "flag routing: there is no variant \"of\""),
        (
            json!({"fractional": [["on", 0]]}),
            "flag routing: the weights of \"fractional\" must add up to something",
        ),
        (json!({"fractional": []}), "flag routing: the weights of \"fractional\" must add up to something"),
        (json!({"fractional": [["on", -1]]}), "flag routing: \"fractional\" needs entries like [\"on\", 25]"),
        (
            json!({"fractional": [{"var": "email"}, ["on", 1]]}),
            "flag routing: \"fractional\" places callers only by {\"var\": \"targetingKey\"}",
        ),
        (json!("on"), "flag routing: targeting must be an object"),
    ];
    for (targeting, reason) in table {
        assert_eq!(fault(&document("routing", on_off(targeting))), reason);
    }
    let wrong = json!({"state": "ENABLED", "variants": {"on": "yes"}, "defaultVariant": "on"});
    assert_eq!(fault(&document("routing", wrong)), "flag routing: variant \"on\" must be true or false");
    let zero = json!({"state": "ENABLED", "variants": {"none": 0}, "defaultVariant": "none"});
    assert_eq!(
        fault(&document("max_personas", zero)),
        "flag max_personas: variant \"none\" must be a whole number from 1"
    );
}

#[test]
fn a_file_that_is_missing_too_large_or_not_json_is_an_error() {
    assert!(matches!(Flags::load(Some(Path::new("/nowhere/flags.json"))), Err(FlagsError::Unreadable(_))));
    assert!(matches!(load(&" ".repeat((1 << 20) + 1)), Err(FlagsError::Unreadable(_))));
    assert!(matches!(load("{"), Err(FlagsError::Syntax(_))));
    assert!(matches!(load(r#"{"flags": {}, "$evaluators": {}}"#), Err(FlagsError::Syntax(_))));
}

/// A watched file in a directory laid out like a mounted ConfigMap: the name is a link into a link.
#[tokio::test(start_paused = true)]
async fn a_changed_file_takes_effect_and_a_wrong_one_does_not() {
    let place = Place::new();
    place.file("v1", &document("routing", on_off(json!({}))));
    place.file("v2", "{ wrong");
    place.file("v3", r#"{"flags": {}}"#);
    let link = place.0.join("flags.json");
    let swap = |to: &str| {
        std::os::unix::fs::symlink(to, place.0.join("next")).unwrap();
        std::fs::rename(place.0.join("next"), &link).unwrap();
    };
    swap("v1");

    let (shutdown, metrics) = (Shutdown::new(), Arc::new(Metrics::new()));
    let flags = Flags::load(Some(&link)).unwrap();
    shutdown.spawn(flags.clone().watch(shutdown.clone(), metrics.clone()));
    let reloads = |outcome| metrics.process.reloads.get(&(WatchedFile::Flags, outcome));
    let until_reloads = async |outcome, count| {
        let waiting = async {
            while reloads(outcome) < count {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("the change is seen");
    };

    swap("v2");
    until_reloads(Outcome::Error, 1).await;
    assert!(!flags.is_on(Flag::Routing, &caller(1)), "what was right stays in force");

    swap("v3");
    until_reloads(Outcome::Ok, 1).await;
    assert!(flags.is_on(Flag::Routing, &caller(1)));
    assert_eq!(reloads(Outcome::Error), 1, "a wrong file is told of once");

    shutdown.closing().cancel();
    shutdown.ended().await;
}

#[test]
fn fuzz_flag_files() {
    crate::fuzz::run("flag_files", |bytes| drop(Table::parse(&Ok(bytes.into()))));
}
