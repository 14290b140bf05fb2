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
async fn the_simulator_runs_alone_and_stops() {
    let mut simulator = Service::spawn(&["simulate-llm", "--listen", "127.0.0.1:0"]);
    let started = simulator.until("simulator_started").await;
    let base = started["base_url"].as_str().unwrap();
    let models = Client::of("").client.get(format!("{base}/models")).send().await.unwrap();
    assert_eq!(Answer::of(models).await.status, 200);
    simulator.signal("-TERM");
    assert_eq!(simulator.exit_code().await, Some(0));
}
