//! More to do than there is time for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::{TestApp, eventually, says, span};

/// Keeps this thread's runtime busy, so that whatever is ready waits some milliseconds, until it is dropped.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn begin(app: &TestApp) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        for _ in 0..10 {
            let over = Arc::clone(&over);
            app.app.services().shutdown.spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    while began.elapsed() < Duration::from_millis(10) {
                        std::hint::spin_loop();
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
        Self(over)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn while_work_waits_too_long_new_turns_are_refused_and_those_that_run_go_on() {
    let app = TestApp::with(|config| config.turns.max_delay = span(20)).await;
    let admission = Arc::clone(&app.app.services().admission);
    app.model.rules([says("guide", ["It ", "was ", "real."]).pausing_after(2)]);
    let mut running = app.stream(json!({"message": "hello", "personas": ["guide"]})).await;
    running.until("reply.delta").await;
    for _ in 0..40 {
        // On a machine with much else to do, enough may be refused already.
        app.post("/api/v1/turns", json!({"message": "hello", "personas": ["guide"]})).await;
    }
    let mut socket = app.socket().await;
    let busy = Busy::begin(&app);
    eventually("there is too much to do", async || admission.pressure().bound().is_some()).await;
    let refused_before = app.metric("turns_rejected_total{reason=\"overloaded\"}");

    for path in ["/api/v1/chat", "/api/v1/chat/stream", "/api/v1/turns"] {
        let refused = app.post(path, json!({"message": "hello"})).await;
        assert_eq!((refused.status, refused.code()), (503, "overloaded"), "{path}");
        assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1, "{path}");
        assert_eq!(refused.header("x-request-id"), refused.body["request_id"].as_str().unwrap());
        assert_eq!(refused.header("x-content-type-options"), "nosniff");
        assert_eq!(refused.header("connection"), "", "its body was read");
    }
    let listed = app.get("/api/v1/personas").await;
    assert_eq!(listed.status, 200, "only new turns are refused");
    socket.send(json!({"type": "chat", "ref": "c-1", "message": "hello"})).await;
    let frames = socket.until("error").await;
    let refused = frames.last().unwrap();
    assert_eq!((&refused["ref"], &refused["error"]["code"]), (&"c-1".into(), &"overloaded".into()));
    assert_eq!(app.metric("turns_rejected_total{reason=\"overloaded\"}") - refused_before, 4.0);

    drop(busy);
    app.model.go_on();
    let events = running.rest().await;
    assert_eq!(events.last().unwrap().name, "turn.completed");
    eventually("there is time again", async || {
        app.post("/api/v1/chat", json!({"message": "hello"})).await.status == 200
    })
    .await;
}
