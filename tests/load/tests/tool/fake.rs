use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;

/// A server that answers everything the same way, on a thread of its own that ends with the process.
pub struct Fake {
    pub url: String,
}

type Answer = dyn Fn() -> Response<Full<Bytes>> + Send + Sync;

impl Fake {
    /// Answers with a turn's events, after something was done to them.
    pub fn streams(change: fn(Vec<String>) -> Vec<String>) -> Self {
        let body = format!("retry: 2000\n: ok\n\n{}", change(events()).concat());
        Self::answers(move || {
            Response::builder().header("turn-id", "t").body(Full::from(body.clone())).unwrap()
        })
    }

    /// Answers with a problem.
    pub fn refuses(status: u16, code: &'static str) -> Self {
        Self::answers(move || {
            Response::builder().status(status).header("problem-code", code).body(Full::from("{}")).unwrap()
        })
    }

    /// Answers as a model; before one answer it stands still, with all its connections, for a second.
    pub fn stalls_once(at: u64) -> Self {
        let seen = AtomicU64::new(0);
        Self::answers(move || {
            if seen.fetch_add(1, Ordering::Relaxed) == at {
                std::thread::sleep(Duration::from_secs(1));
            }
            Response::new(Full::from(
                r#"{"choices":[{"message":{"content":"Yes."},"finish_reason":"stop"}]}"#,
            ))
        })
    }

    fn answers(answer: impl Fn() -> Response<Full<Bytes>> + Send + Sync + 'static) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(listener, Arc::new(answer)));
        });
        Self { url }
    }
}

async fn serve(listener: std::net::TcpListener, answer: Arc<Answer>) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let answer = answer.clone();
                async move {
                    drop(request.into_body().collect().await);
                    Ok::<_, Infallible>(answer())
                }
            });
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

/// A turn as the service streams it.
fn events() -> Vec<String> {
    let all = [
        json!({"type": "turn.started", "conversation": {"id": "c", "created": true}, "message_id": "m"}),
        json!({"type": "routing.decided", "routing": {"personas": ["guide"], "source": "explicit"}}),
        json!({"type": "reply.started", "persona": "guide"}),
        json!({"type": "reply.delta", "persona": "guide", "text": "Once "}),
        json!({"type": "reply.delta", "persona": "guide", "text": "upon"}),
        json!({"type": "reply.completed", "persona": "guide", "content": "Once upon"}),
        json!({"type": "turn.completed"}),
    ];
    let event = |(at, mut event): (usize, serde_json::Value)| {
        let id = format!("1-{}", at + 1);
        event["id"] = id.as_str().into();
        event["turn_id"] = "t".into();
        format!("id: {id}\nevent: {}\ndata: {event}\n\n", event["type"].as_str().unwrap())
    };
    all.into_iter().enumerate().map(event).collect()
}
