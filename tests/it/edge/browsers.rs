//! What browsers are told: which pages may read our answers, and what an answer is.

use polylogue::config::{AllowedOrigin, Config};
use polylogue::http::edge::{EXPOSED, TAKEN};
use serde_json::Value;

use super::demo::Server;
use super::raw::{Answer, Client};

const PAGE: &str = "https://app.example";
const STRANGER: &str = "https://evil.example";

fn allowing(origins: &'static [&'static str]) -> impl FnOnce(&mut Config) {
    |config| {
        let origins = origins.iter().map(|it| AllowedOrigin::try_from((*it).to_owned()).unwrap());
        config.cors.allowed_origins = origins.collect();
    }
}

async fn from(client: &mut Client, origin: &str, method: &str, path: &str, more: &str) -> Answer {
    client.ask(method, path, &format!("Origin: {origin}\r\n{more}")).await
}

fn is_readable(answer: &Answer) -> bool {
    let exposed = answer.header("access-control-expose-headers").unwrap_or_default();
    answer.header("access-control-allow-origin") == Some(PAGE)
        && EXPOSED.iter().all(|name| exposed.contains(name))
        && depends_on_the_page(answer)
}

fn depends_on_the_page(answer: &Answer) -> bool {
    answer.headers.iter().any(|(name, value)| name == "vary" && value == "Origin")
}

fn says_nothing_of_cors(answer: &Answer) -> bool {
    !answer.headers.iter().any(|(name, _)| name.starts_with("access-control-"))
}

#[tokio::test]
async fn no_page_of_another_origin_may_do_anything_until_it_is_allowed() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let read = from(&mut client, STRANGER, "GET", "/api/v1/items/7", "").await;
    assert!(read.status == 200 && says_nothing_of_cors(&read), "{read:?}");
    let ask = "Access-Control-Request-Method: POST\r\n";
    let preflight = from(&mut client, STRANGER, "OPTIONS", "/api/v1/echo", ask).await;
    assert!(preflight.status == 204 && says_nothing_of_cors(&preflight), "{preflight:?}");
    let write = from(&mut client, STRANGER, "POST", "/api/v1/echo", "Content-Length: 0\r\n").await;
    write.problem(403, "origin_not_allowed");
    assert!(says_nothing_of_cors(&write));
    from(&mut client, "null", "DELETE", "/api/v1/items/7", "").await.problem(403, "origin_not_allowed");
}

#[tokio::test]
async fn a_page_of_ours_and_a_program_need_no_permission() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let (ours, empty) = ("http://test", "Content-Length: 0\r\n");
    from(&mut client, ours, "POST", "/api/v1/echo", empty).await.problem(415, "unsupported_media_type");
    client.ask("POST", "/api/v1/echo", empty).await.problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn an_allowed_page_asks_first_and_is_told_what_the_path_has() {
    let server = Server::configured(|config| {
        allowing(&[PAGE])(config);
        config.limits.policies.get_mut("default").unwrap().quota = 1.try_into().unwrap();
    })
    .await;
    let mut client = server.client().await;
    let ask = "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization, x-other\r\n\
               Access-Control-Request-Private-Network: true\r\n";
    for _ in 0..3 {
        let answer = from(&mut client, PAGE, "OPTIONS", "/api/v1/echo", ask).await;
        assert_eq!(answer.status, 204);
        assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
        assert_eq!(answer.header("access-control-allow-methods"), Some("POST, OPTIONS"));
        assert_eq!(answer.header("access-control-allow-headers"), Some(TAKEN.join(", ").as_str()));
        assert_eq!(answer.header("access-control-max-age"), Some("600"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        assert_eq!(answer.header("access-control-allow-private-network"), None);
    }
    let delete =
        from(&mut client, PAGE, "OPTIONS", "/api/v1/echo", "Access-Control-Request-Method: DELETE\r\n");
    let delete = delete.await;
    assert_eq!((delete.status, delete.header("access-control-allow-methods")), (204, None));
    let stranger = from(&mut client, STRANGER, "OPTIONS", "/api/v1/echo", ask).await;
    assert!(says_nothing_of_cors(&stranger), "{stranger:?}");
    assert_eq!(stranger.header("vary"), Some("Origin"));
}

#[tokio::test]
async fn an_allowed_page_reads_every_answer_whatever_went_wrong() {
    let server = Server::configured(|config| {
        allowing(&["https://other.example", PAGE])(config);
        config.limits.policies.get_mut("default").unwrap().quota = 9.try_into().unwrap();
    })
    .await;
    let mut client = server.client().await;
    let large = "Content-Type: application/json\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n";
    for (method, path, more, status) in [
        ("GET", "/api/v1/items/7", "", 200),
        ("HEAD", "/api/v1/items/7", "", 200),
        ("GET", "/api/v1/items/x", "", 400),
        ("GET", "/nothing", "", 404),
        ("DELETE", "/api/v1/items/7", "", 405),
        ("POST", "/api/v1/echo", "Content-Type: text/plain\r\nContent-Length: 0\r\n", 415),
        ("GET", "/api/v1/ws", "", 426),
        ("GET", "/api/v1/panic", "", 500),
        ("GET", "/openapi.json", "If-None-Match: *\r\n", 304),
    ] {
        let answer = from(&mut client, PAGE, method, path, more).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(is_readable(&answer), "{method} {path}: {answer:?}");
    }
    let mut other = server.client().await;
    let too_large = from(&mut other, PAGE, "POST", "/api/v1/echo", large).await;
    assert!(too_large.status == 413 && is_readable(&too_large), "{too_large:?}");
    let refused = async {
        loop {
            let answer = from(&mut client, PAGE, "GET", "/api/v1/items/7", "").await;
            if answer.status == 429 {
                return answer;
            }
        }
    };
    assert!(is_readable(&refused.await));
    let mut stream = server.client().await;
    stream.send(format!("GET /api/v1/stream HTTP/1.1\r\nHost: test\r\nOrigin: {PAGE}\r\n\r\n")).await;
    let head = String::from_utf8(stream.until(b"\r\n\r\n").await.unwrap()).unwrap();
    assert!(head.contains(&format!("access-control-allow-origin: {PAGE}\r\n")), "{head}");
}

#[tokio::test]
async fn everybody_and_credentials_are_said_as_browsers_want_them() {
    let server = Server::configured(allowing(&["*"])).await;
    let answer = from(&mut server.client().await, STRANGER, "GET", "/api/v1/items/7", "").await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert!(!depends_on_the_page(&answer), "{answer:?}");
    let server = Server::configured(|config| {
        allowing(&[PAGE])(config);
        config.cors.allow_credentials = true;
    })
    .await;
    let answer = from(&mut server.client().await, PAGE, "GET", "/api/v1/items/7", "").await;
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    let mut client = server.client().await;
    let stranger = from(&mut client, STRANGER, "GET", "/api/v1/items/7", "").await;
    assert!(says_nothing_of_cors(&stranger), "{stranger:?}");
    assert!(depends_on_the_page(&client.ask("GET", "/api/v1/items/7", "").await));
}

#[tokio::test]
async fn every_answer_says_what_a_browser_may_make_of_it() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for path in ["/livez", "/api/v1/items/7", "/nothing", "/api/v1/panic", "/openapi.json", "/docs", "/"] {
        let answer = client.get(path).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("x-frame-options", "DENY"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; ") && policy.contains("frame-ancestors 'none'"),
            "{path}"
        );
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("strict-transport-security"), None, "not without TLS");
    }
}

/// The names of all members of this name, wherever they are.
fn named(value: &Value, member: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if let (true, Some(headers)) = (name == member, value.as_object()) {
                    found.extend(headers.keys().cloned());
                }
                named(value, member, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| named(item, member, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_documented_header_can_be_read_or_sent_by_a_page() {
    let document = polylogue::http::document::openapi_31(None);
    let mut answered = Vec::new();
    named(&document, "headers", &mut answered);
    answered.sort();
    answered.dedup();
    assert!(answered.len() > 10, "{answered:?}");
    let hidden: Vec<_> = answered.iter().filter(|name| !EXPOSED.contains(&name.as_str())).collect();
    assert!(hidden.is_empty(), "not exposed: {hidden:?}");

    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().values());
    let parameters = operations.filter_map(|it| it["parameters"].as_array()).flatten();
    let taken: Vec<_> = parameters.filter(|it| it["in"] == "header").map(|it| &it["name"]).collect();
    assert!(!taken.is_empty());
    for name in taken {
        assert!(TAKEN.iter().any(|known| known == name), "{name}");
    }
}
