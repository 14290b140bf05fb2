//! Names of variables that are not ours, and the keys they stand for.

use std::ffi::OsString;

use super::environment::truth;

/// A variable of another system.
pub(super) struct Alias {
    /// Its name.
    pub name: &'static str,
    /// The key it stands for.
    pub key: &'static str,
    /// How its value is to be understood.
    pub reading: Reading,
}

/// How the value of a variable is to be understood.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// As ours are; a plain number is seconds where the key is a duration.
    Seconds,
    /// A plain number is milliseconds where the key is a duration.
    Milliseconds,
    /// True is false.
    Opposite,
}

const fn ours(name: &'static str, key: &'static str) -> Alias {
    Alias { name, key, reading: Reading::Seconds }
}

const fn otel(name: &'static str, key: &'static str) -> Alias {
    Alias { name, key, reading: Reading::Milliseconds }
}

/// What begins the variables of OpenTelemetry for all signals, and for traces alone.
const ALL_SIGNALS: &str = "OTEL_EXPORTER_OTLP_";
const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_";

/// All of them.
pub(super) static ALIASES: &[Alias] = &[
    ours("REDIS_URL", "redis.url"),
    ours("REDIS_USE_FOR_MEMORY", "memory.use_redis"),
    ours("MAX_CONNECTIONS_PER_CLIENT", "websocket.max_per_client"),
    ours("MAX_TOTAL_CONNECTIONS", "websocket.max_total"),
    ours("CONNECTION_TTL_SECONDS", "websocket.idle_ttl"),
    ours("HEARTBEAT_INTERVAL_SECONDS", "websocket.heartbeat_interval"),
    ours("HEARTBEAT_TIMEOUT_SECONDS", "websocket.heartbeat_timeout"),
    ours("OPENAI_API_KEY", "llm.api_key"),
    ours("OPENAI_API_KEY_FILE", "llm.api_key_file"),
    ours("OPENAI_BASE_URL", "llm.base_url"),
    ours("REDIS_URL_FILE", "redis.url_file"),
    ours("RUST_LOG", "telemetry.log_filter"),
    Alias { name: "OTEL_SDK_DISABLED", key: "tracing.enabled", reading: Reading::Opposite },
    otel("OTEL_TRACES_EXPORTER", "tracing.exporter"),
    otel("OTEL_EXPORTER_OTLP_ENDPOINT", "tracing.endpoint"),
    otel("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "tracing.traces_endpoint"),
    otel("OTEL_EXPORTER_OTLP_PROTOCOL", "tracing.protocol"),
    otel("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "tracing.protocol"),
    otel("OTEL_EXPORTER_OTLP_HEADERS", "tracing.headers"),
    otel("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "tracing.headers"),
    otel("OTEL_EXPORTER_OTLP_COMPRESSION", "tracing.compression"),
    otel("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "tracing.compression"),
    otel("OTEL_EXPORTER_OTLP_CERTIFICATE", "tracing.ca_file"),
    otel("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "tracing.ca_file"),
    otel("OTEL_EXPORTER_OTLP_TIMEOUT", "tracing.timeout"),
    otel("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "tracing.timeout"),
    otel("OTEL_SERVICE_NAME", "tracing.service_name"),
    otel("OTEL_RESOURCE_ATTRIBUTES", "tracing.resource_attributes"),
    otel("OTEL_TRACES_SAMPLER", "tracing.sampler"),
    otel("OTEL_TRACES_SAMPLER_ARG", "tracing.sampler_ratio"),
    otel("OTEL_PROPAGATORS", "tracing.propagators"),
    otel("OTEL_BSP_MAX_QUEUE_SIZE", "tracing.queue_size"),
    otel("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "tracing.batch_size"),
    otel("OTEL_BSP_SCHEDULE_DELAY", "tracing.batch_delay"),
];

/// The alias of this name.
pub(super) fn find(name: &str) -> Option<&'static Alias> {
    ALIASES.iter().find(|alias| alias.name == name)
}

/// Whether the same is said for traces alone, which wins over what is said for all signals.
pub(super) fn is_overruled(name: &str, variables: &[(OsString, OsString)]) -> bool {
    let Some(rest) = name.strip_prefix(ALL_SIGNALS).filter(|_| !name.starts_with(TRACES)) else {
        return false;
    };
    let narrower = format!("{TRACES}{rest}");
    let same_key = |other: &Alias| find(name).is_some_and(|alias| alias.key == other.key);
    find(&narrower).is_some_and(same_key)
        && variables.iter().any(|(other, value)| *other == *narrower && !value.is_empty())
}

impl Alias {
    /// The value as our own variable would have it.
    pub fn read(&self, text: &str, is_duration: bool) -> String {
        let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
        match (self.reading, number) {
            (Reading::Opposite, _) => truth(text).map_or_else(|| text.to_owned(), |it| (!it).to_string()),
            (Reading::Seconds, Some(seconds)) if is_duration => {
                format!("{}ms", (seconds * 1000.0).round() as u64)
            }
            (Reading::Milliseconds, Some(millis)) if is_duration => format!("{}ms", millis.round() as u64),
            (Reading::Seconds | Reading::Milliseconds, _) => text.to_owned(),
        }
    }
}
