//! A model that repeats what it was asked, in every way that goes wrong.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use poem::endpoint::make;
use poem::http::StatusCode;
use poem::listener::{Acceptor as _, Listener as _, TcpListener};
use poem::{Request, Response};
use serde_json::json;
use tokio::task::JoinSet;

use super::canaries::COMPLETION;

/// How many ways there are.
pub const WAYS: usize = 7;

/// Starts it; its base URL, and what it ends with. Each request is answered in the next way, the last one is an answer.
pub async fn echo() -> (String, JoinSet<io::Result<()>>) {
    let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.unwrap();
    let address = acceptor.local_addr()[0].to_string().replace("socket://", "");
    let next = Arc::new(AtomicUsize::new(0));
    let endpoint = make(move |mut request: Request| {
        let way = next.fetch_add(1, Ordering::SeqCst) % WAYS;
        async move {
            let asked = request.take_body().into_string().await.unwrap();
            let key = request.header("authorization").unwrap_or_default().to_owned();
            answer(way, &format!("{key} {asked}"))
        }
    });
    let mut serving = JoinSet::new();
    serving.spawn(async move { poem::Server::new_with_acceptor(acceptor).run(endpoint).await });
    (format!("http://{address}/v1"), serving)
}

fn answer(way: usize, asked: &str) -> Response {
    let error = json!({"error": {"message": asked, "type": asked, "code": asked}}).to_string();
    let chunk = |text: &str, end: Option<&str>| json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": end}]});
    let stream = |events: &[String]| {
        let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        Response::builder().content_type("text/event-stream").body(body)
    };
    let said = chunk(COMPLETION, None).to_string();
    match way {
        0 => Response::builder().status(StatusCode::BAD_REQUEST).body(error),
        1 => Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR).body(error),
        2 => Response::builder().status(StatusCode::UNAUTHORIZED).body(asked.to_owned()),
        3 => stream(&[said, asked.replace('\n', " ")]),
        4 => stream(&[said, error]),
        5 => stream(&[said]),
        _ => stream(&[said, chunk("", Some("stop")).to_string(), "[DONE]".into()]),
    }
}
