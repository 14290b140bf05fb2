//! The whole service over TLS.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use polylogue::config::{self, ClientAuth};

use super::rig::{Manner, client, client_with, settings, shake, with_clients};
use crate::support::{Certificates, Client, TestApp, polylogue, ports};

async fn on(tls: config::Tls, certificates: &Certificates) -> (TestApp, Client) {
    let app = TestApp::with(|config| config.server.tls = tls).await;
    let base = format!("https://{}", app.app.listen());
    (app, Client { client: client(certificates).build().unwrap(), base })
}

#[tokio::test]
async fn a_turn_is_answered_and_streamed_over_tls() {
    let certificates = Certificates::make();
    let (_app, client) = on(settings(&certificates.pair("server")), &certificates).await;
    let turn = client.post("/api/v1/chat", json!({"message": "hello", "personas": ["guide"]})).await;
    assert_eq!((turn.status, &turn.body["status"]), (200, &json!("completed")), "{turn:?}");
    let mut stream = client.stream(json!({"message": "hello", "personas": ["guide"]})).await;
    assert_eq!(stream.until("turn.completed").await.first().unwrap().name, "turn.started");
}

#[tokio::test]
async fn a_socket_is_opened_over_tls() {
    let certificates = Certificates::make();
    let (app, _) = on(settings(&certificates.pair("server")), &certificates).await;
    let io = TcpStream::connect(app.app.listen()).await.unwrap();
    let io = shake(&certificates, io, Manner { protocols: vec!["http/1.1"], only: None }).await.unwrap();
    let url = "wss://localhost/api/v1/chat/ws";
    let (mut socket, _) = tokio_tungstenite::client_async(url, io).await.unwrap();
    let hello = socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert!(hello.contains("\"hello\""), "{hello}");
    let chat = json!({"type": "chat", "ref": "1", "message": "hello", "personas": ["guide"]});
    socket.send(Message::text(chat.to_string())).await.unwrap();
    loop {
        let frame = socket.next().await.unwrap().unwrap().into_text().unwrap();
        if frame.contains("\"turn.completed\"") {
            return;
        }
    }
}

/// The service with TLS on its management port, and what the health check of the same settings says.
async fn health(tls: &config::Tls) -> (TestApp, Option<i32>) {
    let port = ports::free();
    let app = TestApp::with(|config| {
        config.server.management_tls = tls.clone();
        config.server.management_listen.set_port(port);
    })
    .await;
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().unwrap().display().to_string();
    let mut set = vec![
        format!("server.management_listen=127.0.0.1:{port}"),
        format!("server.management_tls.cert_file={}", path(&tls.cert_file)),
        format!("server.management_tls.key_file={}", path(&tls.key_file)),
    ];
    if tls.client_auth != ClientAuth::None {
        set.push(format!("server.management_tls.client_ca_file={}", path(&tls.client_ca_file)));
        set.push("server.management_tls.client_auth=required".to_owned());
    }
    let checking = tokio::task::spawn_blocking(move || {
        let set = set.iter().flat_map(|setting| ["--set", setting]);
        let arguments: Vec<_> = std::iter::once("healthcheck").chain(set).collect();
        polylogue(&arguments, &[]).output().unwrap().status.code()
    });
    (app, checking.await.unwrap())
}

#[tokio::test]
async fn the_management_port_speaks_tls_and_the_health_check_with_it() {
    let certificates = Certificates::make();
    let (app, code) = health(&settings(&certificates.pair("server"))).await;
    assert_eq!(code, Some(0));
    let url = format!("https://{}/metrics", app.app.management_listen());
    let metrics = client(&certificates).build().unwrap().get(url).send().await.unwrap().text().await.unwrap();
    let line = "polylogue_tls_certificate_expiry_timestamp_seconds{port=\"management\"} ";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn the_health_check_shows_the_ports_own_certificate_where_one_is_required() {
    let certificates = Certificates::make();
    let both = certificates.issue("both", "both", 2);
    let tls = config::Tls {
        cert_file: Some(both.certificate.clone()),
        key_file: Some(both.key.clone()),
        ..with_clients(&certificates, ClientAuth::Required)
    };
    let (app, code) = health(&tls).await;
    assert_eq!(code, Some(0));
    let url = format!("https://{}/livez", app.app.management_listen());
    let known = client_with(&certificates, &certificates.pair("client"));
    assert_eq!(known.get(&url).send().await.unwrap().status().as_u16(), 200);
    assert!(client(&certificates).build().unwrap().get(&url).send().await.is_err());
}
