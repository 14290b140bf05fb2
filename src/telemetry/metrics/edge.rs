//! Metrics of the edge: requests, connections, streams, sockets, limits.

use super::family::{Counter as counter, Gauge as gauge, Histogram as histogram, Name, family};
use super::labels::*;
use super::shape::Buckets;

const REQUEST: Buckets = Buckets {
    why: "Reads are sub-millisecond, blocking chat runs to the deadline.",
    bounds: &[
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
        120.0,
    ],
};
const STREAM: Buckets = Buckets {
    why: "60 s is a proxy cutting: a visible cliff.",
    bounds: &[0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0],
};
const SOCKET: Buckets = Buckets {
    why: "The idle bound is a bound.",
    bounds: &[1.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 21600.0, 86400.0],
};
const DECISION: Buckets = Buckets {
    why: "Local is µs, Redis below 1 ms, its ceiling 50 ms.",
    bounds: &[0.000001, 0.00001, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05],
};

family! {
    /// Requests.
    Http {
        /// Requests answered; HEAD counts as GET, what no operation answers as _OTHER on unmatched, a client that left first as 499.
        counter requests = "http_requests_total" [method: Method, route: Name, status: Name];
        /// Time to the last byte of a buffered response, or to the headers of a stream or upgrade.
        histogram duration = "http_request_duration_seconds" [method: Method, route: Name, status_class: StatusClass] in REQUEST;
        /// Requests being answered now.
        gauge in_flight = "http_requests_in_flight";
    }
}
family! {
    /// TCP connections of the public port.
    Connections {
        /// TCP connections open now.
        gauge open = "tcp_connections";
        /// TCP connections accepted.
        counter accepted = "tcp_connections_accepted_total";
        /// TCP connections closed, by reason.
        counter closed = "tcp_connections_closed_total" [reason: ConnectionEnd];
        /// When the certificate of a port ends, where it speaks TLS.
        gauge certificate_expiry = "tls_certificate_expiry_timestamp_seconds" [port: TlsPort];
    }
}
family! {
    /// Event streams.
    Sse {
        /// Event streams open now.
        gauge open = "sse_streams";
        /// Event streams opened.
        counter opened = "sse_streams_opened_total";
        /// Event streams closed, by reason.
        counter closed = "sse_streams_closed_total" [reason: StreamEnd];
        /// How long event streams lived.
        histogram duration = "sse_stream_duration_seconds" in STREAM;
        /// Requests to resume a stream after an event, by outcome.
        counter resumes = "sse_resumes_total" [outcome: ResumeOutcome];
    }
}
family! {
    /// Sockets.
    WebSocket {
        /// WebSockets open now.
        gauge open = "websocket_connections";
        /// How many WebSockets this replica takes.
        gauge limit = "websocket_connections_limit";
        /// WebSockets opened.
        counter opened = "websocket_connections_opened_total";
        /// WebSockets closed, by reason.
        counter closed = "websocket_connections_closed_total" [reason: SocketEnd];
        /// WebSocket upgrades refused, by reason.
        counter rejected = "websocket_connections_rejected_total" [reason: SocketRefusal];
        /// WebSocket messages, by direction and type.
        counter messages = "websocket_messages_total" [direction: Direction, type: Frame];
        /// How long WebSockets lived.
        histogram duration = "websocket_connection_duration_seconds" in SOCKET;
    }
}
family! {
    /// Credentials.
    Auth {
        /// Credentials checked, by kind and outcome.
        counter attempts = "auth_attempts_total" [method: AuthMethod, outcome: AuthOutcome];
    }
}
family! {
    /// Limit decisions.
    RateLimit {
        /// Decisions of each policy.
        counter decisions = "rate_limit_decisions_total" [policy: Name, decision: Decision, backend: Backend, identified_by: IdentifiedBy];
        /// How long a decision took.
        histogram duration = "rate_limit_decision_duration_seconds" [backend: Backend] in DECISION;
        /// Forwarding headers from peers that are not trusted proxies.
        counter forwarded_ignored = "forwarded_headers_ignored_total";
    }
}
