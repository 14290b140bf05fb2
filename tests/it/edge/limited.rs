//! Limits as clients meet them.

use polylogue::config::Config;

use super::demo::Server;

const PATH: &str = "/api/v1/items/7";

fn two_a_minute(config: &mut Config) {
    config.limits.policies.get_mut("default").unwrap().quota = 2.try_into().unwrap();
}

#[tokio::test]
async fn every_limited_answer_says_what_is_left_and_the_first_too_many_is_refused() {
    let server = Server::configured(two_a_minute).await;
    let mut client = server.client().await;
    assert_eq!(client.get(PATH).await.header("ratelimit"), Some("\"default\";r=1;t=60"));
    let failed = client.get("/api/v1/fault").await;
    failed.problem(500, "internal");
    assert_eq!(failed.header("x-ratelimit-remaining"), Some("0"));
    let refused = client.get(PATH).await;
    let problem = refused.problem(429, "rate_limited");
    assert_eq!(problem["violated-policies"][0], "default");
    assert_eq!(refused.header("ratelimit-policy"), Some("\"default\";q=2;w=60"));
    assert_eq!(refused.headers.iter().filter(|(name, _)| name == "retry-after").count(), 1);
}

#[tokio::test]
async fn probes_documents_and_strangers_are_not_limited() {
    let server = Server::configured(two_a_minute).await;
    let mut client = server.client().await;
    for _ in 0..5 {
        for (path, status) in [("/livez", 200), ("/openapi.json", 200), ("/nothing", 404)] {
            let answer = client.get(path).await;
            assert_eq!((answer.status, answer.header("ratelimit")), (status, None), "{path}");
        }
        assert_eq!(client.ask("OPTIONS", PATH, "").await.status, 204);
    }
    assert_eq!(client.get(PATH).await.status, 200);
}

#[tokio::test]
async fn a_refused_upload_is_refused_before_its_body() {
    let server = Server::configured(two_a_minute).await;
    let mut client = server.client().await;
    client.get(PATH).await;
    client.get(PATH).await;
    assert_eq!(client.get(PATH).await.header("connection"), None, "there was no body");
    client.send("POST /api/v1/echo HTTP/1.1\r\nHost: test\r\nContent-Length: 20\r\n\r\n").await;
    let refused = client.answer().await;
    refused.problem(429, "rate_limited");
    assert_eq!(refused.header("connection"), Some("close"), "its body was not read");
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_limits_of_its_own() {
    let server = Server::configured(|config| {
        two_a_minute(config);
        config.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let mut client = server.client().await;
    for (address, left) in [("203.0.113.7", "1"), ("203.0.113.8", "1"), ("203.0.113.7", "0")] {
        let answer = client.ask("GET", PATH, &format!("X-Forwarded-For: {address}\r\n")).await;
        assert_eq!(answer.header("x-ratelimit-remaining"), Some(left), "{address}");
    }
}
