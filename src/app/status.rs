//! What `/status` shows beside what the edge knows itself.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::config;
use crate::connections::Connections;
use crate::http::Services;
use crate::http::management::StatusBoard;
use crate::llm::Upstreams;
use crate::redis::Redis;
use crate::resilience::Snapshot;
use crate::telemetry::metrics::{AuthMethod, Label as _};
use crate::words::ReplicaId;

/// Callers that `/status` names.
const MOST_LIMITED: usize = 10;

/// Puts up what the parts have to say.
pub fn status_board(
    services: &Services,
    connections: &Arc<Connections>,
    model: Arc<Upstreams>,
    simulated: bool,
    replica: &ReplicaId,
) -> Arc<StatusBoard> {
    let board = StatusBoard::new();
    let replica = replica.to_string();
    board.register("replica", move || json!(replica));
    board.register("breakers", move || model.snapshot().iter().map(breaker).collect());
    let auth = services.config.auth.clone();
    board.register("authentication", move || authentication(&auth));
    board.register("simulator_in_use", move || json!(simulated));
    let connections = Arc::clone(connections);
    board.register("sockets", move || {
        let census = connections.census();
        json!({"open": census.total, "principals": census.principals})
    });
    let limits = Arc::clone(&services.limits);
    board.register("most_limited", move || {
        let callers = limits.most_limited(MOST_LIMITED).into_iter();
        callers.map(|(client, refused)| json!({"client": client, "refused": refused})).collect()
    });
    Arc::new(board)
}

/// How Redis stands, and what works in a smaller way without it.
pub fn show_redis(board: &StatusBoard, redis: Redis) {
    let (shown, health) = (redis.clone(), redis.health().clone());
    board.register("redis", move || {
        let mut status = shown.status();
        status["breaker"] = breaker(&shown.breaker());
        status
    });
    board.register("degraded", move || health.degraded().iter().map(|feature| feature.as_label()).collect());
}

/// By what callers say who they are; nothing where authentication is off.
fn authentication(auth: &config::Auth) -> Value {
    let keys = auth.keys_file.as_ref().map(|_| AuthMethod::ApiKey.as_label());
    let tokens = auth.jwt.is_on().then(|| AuthMethod::Jwt.as_label());
    keys.into_iter().chain(tokens).collect()
}

fn breaker(snapshot: &Snapshot) -> Value {
    json!({
        "name": snapshot.name,
        "state": snapshot.state.as_label(),
        "consecutive_failures": snapshot.consecutive_failures,
        "probe_in_ms": snapshot.probe_in.map(|wait| wait.as_millis() as u64),
    })
}
