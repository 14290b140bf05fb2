//! API keys, as callers and operators meet them.

use polylogue::telemetry::metrics::{Outcome, WatchedFile};
use serde_json::json;

use super::{KeysFile, entry, hello, key};
use crate::support::{Socket, TestApp, eventually, polylogue};

async fn app(file: &KeysFile) -> TestApp {
    TestApp::with(|config| config.auth.keys_file = Some(file.path())).await
}

#[tokio::test]
async fn a_key_opens_the_door_and_nothing_else_does() {
    let (known, foreign) = (key(), key());
    let file = KeysFile::new(&[entry("web", &known, "")]);
    let app = app(&file).await;

    let missing = app.post("/api/v1/chat", hello()).await;
    assert_eq!((missing.status, missing.code()), (401, "unauthenticated"));
    assert_eq!(missing.header("www-authenticate"), r#"Bearer realm="polylogue""#);
    assert_eq!(missing.header("connection"), "close", "its body was not read");
    assert_eq!(app.get("/api/v1/personas").await.header("connection"), "", "there was none");

    let mistyped = known.reveal().replace("plg_", "plg_0");
    for wrong in [foreign.reveal(), &mistyped, "plg_", "x", "a.b.c"] {
        let refused = app.with_bearer(wrong).post("/api/v1/chat", hello()).await;
        assert_eq!((refused.status, refused.code()), (401, "unauthenticated"), "{wrong}");
        assert_eq!(refused.header("www-authenticate"), r#"Bearer realm="polylogue", error="invalid_token""#);
        assert!(!refused.body.to_string().contains(&known.digest().to_string()));
    }
    let basic = app.post_with("/api/v1/chat", &[("Authorization", "Basic d2ViOg==")], &hello()).await;
    assert_eq!(basic.status, 401);

    let answered = app.with_bearer(known.reveal()).post("/api/v1/chat", hello()).await;
    assert_eq!(answered.status, 200, "{answered:?}");
    assert!(app.metric("auth_attempts_total{method=\"api_key\",outcome=\"ok\"}") >= 1.0);
    assert!(app.metric("auth_attempts_total{method=\"none\",outcome=\"missing\"}") >= 1.0);
}

#[tokio::test]
async fn what_is_no_api_needs_no_key() {
    let file = KeysFile::new(&[]);
    let app = app(&file).await;
    for open in [
        "/livez",
        "/readyz",
        "/version",
        "/openapi.json",
        "/asyncapi.yaml",
        "/docs",
        "/problems/unauthenticated",
    ] {
        assert_eq!(app.get(open).await.status, 200, "{open}");
    }
    assert_eq!(app.get("/nowhere").await.status, 404);
    assert_eq!(app.get("/api/v1/nowhere").await.status, 404);
}

#[tokio::test]
async fn a_key_is_good_until_it_expires() {
    let (old, new) = (key(), key());
    let file = KeysFile::new(&[
        entry("web", &old, "expires_at = \"2020-01-01T00:00:00Z\""),
        entry("web", &new, "expires_at = \"2999-01-01T00:00:00Z\""),
    ]);
    let app = app(&file).await;
    let expired = app.with_bearer(old.reveal()).get("/api/v1/personas").await;
    assert_eq!((expired.status, &expired.body["detail"]), (401, &json!("The credential has expired.")));
    assert_eq!(app.with_bearer(new.reveal()).get("/api/v1/personas").await.status, 200);
}

#[tokio::test]
async fn keys_are_added_and_revoked_without_a_restart_and_open_sockets_learn_of_it() {
    let (first, second) = (key(), key());
    let file = KeysFile::new(&[entry("web", &first, "")]);
    let app = app(&file).await;
    let address = app.app.listen().to_string();
    let bearer = |key: &polylogue::auth::ApiKey| format!("Bearer {}", key.reveal());
    let mut socket = Socket::with(&address, "", &[("Authorization", &bearer(&first))]).await.unwrap();
    socket.send(json!({"type": "ping", "ref": "1"})).await;
    assert_eq!(socket.next().await.unwrap()["type"], "pong");

    // Both are good for as long as its owner needs to change over: the same name, the same principal.
    file.write(&[entry("web", &first, ""), entry("web", &second, "")]);
    let new = app.with_bearer(second.reveal());
    eventually("the new key is good", async || new.get("/api/v1/personas").await.status == 200).await;
    assert_eq!(app.with_bearer(first.reveal()).get("/api/v1/personas").await.status, 200);

    file.write(&[entry("web", &second, "")]);
    assert_eq!(socket.closed().await, 4501);
    assert_eq!(app.with_bearer(first.reveal()).get("/api/v1/personas").await.status, 401);
    assert_eq!(new.get("/api/v1/personas").await.status, 200);
}

#[tokio::test]
async fn a_file_that_is_wrong_or_gone_changes_nothing() {
    let known = key();
    let file = KeysFile::new(&[entry("web", &known, "")]);
    let app = app(&file).await;
    let reloads = |outcome| app.app.services().metrics.process.reloads.get(&(WatchedFile::Keys, outcome));

    file.write_text("keys = [{ name = \"web\" }]");
    eventually("the wrong file was noticed", async || reloads(Outcome::Error) == 1).await;
    std::fs::remove_file(file.path()).unwrap();
    eventually("its absence was noticed", async || reloads(Outcome::Error) == 2).await;
    assert_eq!(app.with_bearer(known.reveal()).get("/api/v1/personas").await.status, 200);

    file.write(&[]);
    eventually("the right file was taken over", async || reloads(Outcome::Ok) == 1).await;
    assert_eq!(app.with_bearer(known.reveal()).get("/api/v1/personas").await.status, 401);
}

#[tokio::test]
async fn limits_count_a_caller_wherever_it_is_and_by_its_own_policies() {
    let (ada, bob) = (key(), key());
    let file = KeysFile::new(&[entry("ada", &ada, ""), entry("bob", &bob, "policies = [\"generous\"]")]);
    let app = TestApp::with(|config| {
        config.auth.keys_file = Some(file.path());
        let default = config.limits.policies.get_mut("default").unwrap();
        default.quota = 2.try_into().unwrap();
        let mut generous = default.clone();
        generous.quota = 3.try_into().unwrap();
        config.limits.policies.insert("generous".into(), generous);
    })
    .await;
    let statuses = async |key: &polylogue::auth::ApiKey| {
        let caller = app.with_bearer(key.reveal());
        let mut statuses = Vec::new();
        for _ in 0..4 {
            statuses.push(caller.get("/api/v1/personas").await.status);
        }
        statuses
    };
    // Both come from one address, and neither counts for the other.
    assert_eq!(statuses(&ada).await, [200, 200, 429, 429]);
    assert_eq!(statuses(&bob).await, [200, 200, 200, 429]);
    let limited = app.with_bearer(bob.reveal()).get("/api/v1/personas").await;
    assert!(limited.header("ratelimit-policy").starts_with("\"generous\";q=3"), "{limited:?}");
}

#[tokio::test]
async fn failed_attempts_have_a_limit_that_locks_nobody_out() {
    let known = key();
    let file = KeysFile::new(&[entry("web", &known, "")]);
    let app = TestApp::with(|config| {
        config.auth.keys_file = Some(file.path());
        config.limits.policies.get_mut("failed_authentication").unwrap().quota = 3.try_into().unwrap();
    })
    .await;
    let guess = || async { app.with_bearer(key().reveal()).get("/api/v1/personas").await };
    for _ in 0..3 {
        assert_eq!(guess().await.status, 401);
    }
    let limited = guess().await;
    assert_eq!((limited.status, limited.code()), (429, "rate_limited"));
    assert_eq!(limited.body["violated-policies"], json!(["failed_authentication"]));
    assert_eq!(app.with_bearer(known.reveal()).get("/api/v1/personas").await.status, 200);
}

#[tokio::test]
async fn what_the_program_prints_is_an_entry_of_the_file_and_its_key_opens_the_door() {
    let made = polylogue(&["keys", "new", "web", "--expires-in", "90d", "--persona", "skeptic"], &[])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let text = String::from_utf8(made.stdout).unwrap();
    let key = text.lines().find_map(|line| line.strip_prefix("# plg_")).unwrap();
    let file = KeysFile::new(std::slice::from_ref(&text));
    let app = app(&file).await;
    assert_eq!(app.with_bearer(&format!("plg_{key}")).get("/api/v1/personas").await.status, 200);

    for wrong in [
        &["keys", "new", ""][..],
        &["keys", "new", "web", "--expires-in", "soon"],
        &["keys", "new", "web", "--persona", "A"],
    ] {
        assert_eq!(polylogue(wrong, &[]).output().unwrap().status.code(), Some(64), "{wrong:?}");
    }
}

#[test]
fn a_wrong_file_stops_the_start_and_the_reason_names_file_and_key_but_nothing_secret() {
    let digest = key().digest().to_string();
    for (text, reason) in [
        ("[[keys]]\nname = \"web\"\n".to_owned(), "keys[0]: missing field `sha256`"),
        (
            format!("[[keys]]\nname = \"web\"\nsha256 = \"{}\"\n", &digest[1..]),
            "keys[0].sha256: must be a SHA-256",
        ),
        (format!("[[keys]]\nname = \"web\"\nsha256 = \"{digest}\"\nrole = \"x\"\n"), "unknown field `role`"),
        (
            format!("[[keys]]\nname = \"web\"\nsha256 = \"{digest}\"\npolicies = [\"none\"]\n"),
            "keys[0].policies: there is no limits.policies.none",
        ),
        (
            format!(
                "[[keys]]\nname = \"a\"\nsha256 = \"{digest}\"\n[[keys]]\nname = \"b\"\nsha256 = \"{digest}\"\n"
            ),
            "keys[1].sha256: another entry has the same",
        ),
        ("keys = 1".to_owned(), "keys: must be a sequence"),
    ] {
        let file = KeysFile::new(&[text]);
        let setting = format!("auth.keys_file={}", file.path().display());
        let free = ["--set", "server.listen=127.0.0.1:0", "--set", "server.management_listen=127.0.0.1:0"];
        let arguments = [&free[..], &["--set", setting.as_str()]].concat();
        let output = polylogue(&arguments, &[]).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(
            said.contains(reason) && said.contains(&file.path().display().to_string()),
            "{reason}: {said}"
        );
        assert!(!said.contains(&digest[2..40]), "{said}");
    }
}
