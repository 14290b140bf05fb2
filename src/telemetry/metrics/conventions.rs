//! Which OpenTelemetry semantic convention measures the same as a metric of ours.

/// The convention's name; empty where there is none.
pub(super) fn otel(name: &str) -> &'static str {
    match name {
        "http_request_duration_seconds" => "http.server.request.duration",
        "http_requests_in_flight" => "http.server.active_requests",
        "llm_request_duration_seconds" => "gen_ai.client.operation.duration",
        "llm_time_to_first_token_seconds" => "gen_ai.client.operation.time_to_first_chunk",
        "llm_time_per_output_chunk_seconds" => "gen_ai.client.operation.time_per_output_chunk",
        "llm_tokens_total" => "gen_ai.client.token.usage",
        "turn_duration_seconds" => "gen_ai.workflow.duration",
        "redis_command_duration_seconds" => "db.client.operation.duration",
        "redis_pool_connections" => "db.client.connection.count",
        _ => "",
    }
}
