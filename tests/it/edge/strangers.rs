//! Requests nobody thought of: whatever comes, the answer is not our fault and every error is a problem.

use poem::http::{HeaderName, HeaderValue, Method, Uri};
use poem::{Endpoint as _, Request};
use proptest::prelude::*;

use super::demo::{Server, app};

/// Paths near the real ones, and any other. Those that fail or stream on purpose are left out.
fn path() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "/",
        "/docs",
        "/openapi.json",
        "/problems/internal",
        "/api/v1/echo",
        "/api/v1/items/7",
        "/api/v1/large",
        "/api/v1/ws",
        "/livez",
        "/api/v1/items/%FF%2F",
        "/api/v1/items/..",
        "/problems/%00",
    ]);
    let tail = "[/?%.:*{}a-z0-9_~-]{0,12}";
    prop_oneof![
        known.clone().prop_map(str::to_owned),
        (known, tail).prop_map(|(path, tail)| path.to_owned() + &tail),
        "/[!-~]{0,40}",
    ]
}

fn header() -> impl Strategy<Value = (HeaderName, HeaderValue)> {
    let names = prop::sample::select(vec![
        "accept",
        "accept-encoding",
        "content-type",
        "content-length",
        "content-encoding",
        "x-request-id",
        "upgrade",
        "connection",
        "if-none-match",
        "expect",
        "sec-websocket-key",
        "sec-websocket-version",
        "transfer-encoding",
    ]);
    let values = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..30),
        prop::sample::select(vec![
            "application/json",
            "websocket",
            "upgrade",
            "gzip",
            "br;q=9",
            "*",
            "13",
            "-1"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    (names, values).prop_filter_map("a header value", |(name, value)| {
        Some((HeaderName::from_static(name), HeaderValue::from_bytes(&value).ok()?))
    })
}

fn request() -> impl Strategy<Value = Request> {
    let method = prop_oneof![
        prop::sample::select(vec!["GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "TRACE"])
            .prop_map(str::to_owned),
        "[A-Z]{1,8}",
    ];
    let body = prop_oneof![Just(Vec::new()), prop::collection::vec(any::<u8>(), 0..60)];
    (method, path(), prop::collection::vec(header(), 0..5), body).prop_filter_map(
        "a target",
        |(method, path, headers, body)| {
            let request =
                Request::builder().method(method.parse::<Method>().ok()?).uri(path.parse::<Uri>().ok()?);
            let request =
                headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
            Some(request.body(body))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn whatever_is_asked_no_answer_is_a_500_and_every_error_is_a_problem(request in request()) {
        let asked = format!("{request:?}");
        let answer = async {
            let (app, services, _) = app(|_| {});
            services.health.started();
            services.health.beat();
            app.get_response(request).await
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let response = runtime.block_on(answer);
        let status = response.status().as_u16();
        prop_assert!(status < 500, "{status} for {asked}");
        let is_problem = response.content_type() == Some("application/problem+json");
        prop_assert_eq!(is_problem, status >= 400, "{} for {}", status, asked);
    }
}

#[tokio::test]
async fn what_the_parser_refuses_is_answered_without_a_body() {
    let server = Server::start().await;
    let many = "A: b\r\n".repeat(65);
    let wide = format!("A: {}\r\n", "b".repeat(40 * 1024));
    for (head, status) in [
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), 400),
        (format!("GET /livez HTTP/1.1\r\nHost: test\r\n{many}\r\n"), 431),
        (format!("GET /livez HTTP/1.1\r\nHost: test\r\n{wide}\r\n"), 431),
    ] {
        let mut client = server.client().await;
        client.send(head).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.body), (status, Some(Vec::new())));
    }
}
