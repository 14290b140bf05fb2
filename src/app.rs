//! The composition root: the only file that names adapters.

use serde_json::json;

use crate::config::{Config, Simulator};
use crate::exit::Failure;
use crate::shutdown::{Sequence, Shutdown};
use crate::words::ReplicaId;

/// Runs the service until `shutdown` is asked for and everything has ended.
pub async fn serve(config: Config, replica: ReplicaId, shutdown: Shutdown) -> Result<(), Failure> {
    tracing::info!(event = "application_starting", replica_id = %replica, "starting");
    tracing::info!(event = "application_ready", "ready");
    let stop = Sequence::asked(shutdown, (&config.server).into()).await;
    tracing::info!(event = "application_shutting_down", "stopping");
    stop.run().await;
    tracing::info!(event = "application_stopped", "stopped");
    Ok(())
}

/// Runs the built-in stand-in for a model alone.
pub async fn simulate_llm(_simulator: Simulator, shutdown: Shutdown) -> Result<(), Failure> {
    shutdown.asked().cancelled().await;
    Ok(())
}

/// The OpenAPI document, 3.1 or, for generators that read nothing newer, 3.0.
pub fn openapi(_three_zero: bool) -> serde_json::Value {
    json!({})
}

/// The AsyncAPI document of the socket.
pub fn asyncapi() -> String {
    String::new()
}

/// A turn's flow as a Mermaid diagram.
pub fn graph() -> String {
    String::new()
}
