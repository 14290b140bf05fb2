//! How the program starts, or says why it does not.

use std::net::TcpListener;

use serde_json::json;

use super::service::Service;
use super::{code, run, said};
use crate::support::{Answer, Client, model};

#[tokio::test]
async fn a_service_starts_step_by_step_and_says_where_it_is() {
    let (model, _) = model().await;
    let (service, client, management) = Service::on(&model, &[]).await;
    let steps =
        ["application_starting", "llm_manager_initialized", "websocket_manager_started", "application_ready"];
    assert!(service.saw_in_order(&steps), "{:?}", service.seen);
    for probe in ["/livez", "/readyz"] {
        assert_eq!((client.get(probe).await.status, management.get(probe).await.status), (200, 200));
    }
    let answer = client.post("/api/v1/chat", json!({"message": "hello", "personas": ["guide"]})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn a_taken_port_ends_with_69_and_names_the_port() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let flags = |public: String, management: String| {
        tokio::task::spawn_blocking(move || {
            run(&["--listen", &public, "--management-listen", &management], &[])
        })
    };
    let free = "127.0.0.1:0".to_owned();
    for (public, management) in [(address.clone(), free.clone()), (free, address.clone())] {
        let output = flags(public, management).await.unwrap();
        assert_eq!(code(&output), Some(69), "{}", said(&output));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(&address) && stderr.contains("in use"), "{stderr}");
    }
}

#[tokio::test]
async fn after_a_kill_the_same_ports_can_be_used_at_once() {
    let (model, _) = model().await;
    let (mut first, client, management) = Service::on(&model, &[]).await;
    let stream = client.stream(json!({"message": "hello", "personas": ["guide"]})).await;
    first.signal("-KILL");
    assert_eq!(first.exit_code().await, None);
    drop(stream);

    let address = |client: &Client| client.base.trim_start_matches("http://").to_owned();
    let (public, management) = (address(&client), address(&management));
    let mut second = Service::spawn(&["--listen", &public, "--management-listen", &management]);
    second.until("application_ready").await;
    assert_eq!(Client::of(&public).get("/readyz").await.status, 200);
}

#[tokio::test]
async fn healthcheck_asks_the_running_service() {
    let (model, _) = model().await;
    let (_service, _, management) = Service::on(&model, &[]).await;
    let check = async |path: &str| {
        let url = management.url(path);
        tokio::task::spawn_blocking(move || run(&["healthcheck", "--url", &url], &[])).await.unwrap()
    };
    assert_eq!(code(&check("/livez").await), Some(0));
    assert_eq!(code(&check("/nowhere").await), Some(1));
}

#[tokio::test]
async fn ask_prints_a_completed_turn_and_fails_with_any_other() {
    let (model, _) = model().await;
    let (_service, client, management) = Service::on(&model, &[]).await;
    let ask = async |url: &str, persona: &str| {
        let arguments = ["ask", "--url", url, "--persona", persona, "hello"].map(str::to_owned);
        let arguments = move || run(&arguments.each_ref().map(String::as_str), &[]);
        tokio::task::spawn_blocking(arguments).await.unwrap()
    };
    let output = ask(&client.base, "guide").await;
    assert_eq!(code(&output), Some(0), "{}", said(&output));
    let turn: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (turn["status"].as_str(), turn["replies"][0]["persona"].as_str()),
        (Some("completed"), Some("guide"))
    );

    let refused = ask(&client.base, "nobody").await;
    assert_eq!(code(&refused), Some(1));
    assert!(said(&refused).contains("answered 400"), "{}", said(&refused));
    let elsewhere = ask(&management.base, "guide").await;
    assert_eq!(code(&elsewhere), Some(1), "{}", said(&elsewhere));
}

#[tokio::test]
async fn ask_shows_the_key_that_a_file_holds() {
    let folder = std::env::temp_dir().join(format!("polylogue-ask-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let printed = said(&run(&["keys", "new", "asker"], &[]));
    let key = printed.split_whitespace().find(|word| word.starts_with("plg_")).unwrap();
    let (keys, shown) = (folder.join("keys.toml"), folder.join("key"));
    std::fs::write(&keys, &printed[printed.find("[[keys]]").unwrap()..]).unwrap();
    std::fs::write(&shown, format!("{key}\n")).unwrap();
    let (model, _) = model().await;
    let setting = format!("auth.keys_file={}", keys.display());
    let (_service, client, _) = Service::on(&model, &[&setting]).await;
    let ask = async |arguments: &[&str]| {
        let arguments: Vec<String> =
            [&["ask", "--url", &client.base], arguments].concat().into_iter().map(str::to_owned).collect();
        let work = move || run(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
        tokio::task::spawn_blocking(work).await.unwrap()
    };
    let with = ask(&["--key-file", shown.to_str().unwrap(), "@guide hello"]).await;
    let without = ask(&["@guide hello"]).await;
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(code(&with), Some(0), "{}", said(&with));
    assert!(code(&without) == Some(1) && said(&without).contains("answered 401"), "{}", said(&without));
}

#[tokio::test]
async fn the_simulator_runs_alone_and_stops() {
    let mut simulator = Service::spawn(&["simulate-llm", "--listen", "127.0.0.1:0"]);
    let started = simulator.until("simulator_started").await;
    let base = started["base_url"].as_str().unwrap();
    let models = Client::of("").client.get(format!("{base}/models")).send().await.unwrap();
    assert_eq!(Answer::of(models).await.status, 200);
    simulator.signal("-TERM");
    assert_eq!(simulator.exit_code().await, Some(0));
}
