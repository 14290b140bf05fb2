//! What the server says (`wire.md`).

use serde::Serialize;
use serde_json::Value;

use super::frames::Reference;
use super::handshake::PROTOCOL;
use crate::config::Config;
use crate::connections::Connection;
use crate::http::problem::Problem;
use crate::limits::Standing;
use crate::telemetry::metrics::Frame;
use crate::words::{ConnectionId, Event, RequestId, Timestamp, TurnId, TurnStatus};

/// A frame ready to go out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    /// What metrics call it.
    pub label: Frame,
    /// Its text.
    pub text: String,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ServerFrame<'a> {
    Hello {
        connection_id: ConnectionId,
        protocol: &'static str,
        server: Server,
        heartbeat_interval_ms: u64,
        idle_timeout_ms: u64,
        limits: Limits<'a>,
    },
    Cancelling {
        #[serde(rename = "ref")]
        reference: &'a str,
        turn_id: TurnId,
        status: TurnStatus,
    },
    Error {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a str>,
        error: Value,
    },
    Authenticated {
        #[serde(rename = "ref")]
        reference: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
    },
    Pong {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a str>,
        time: Timestamp,
    },
    Draining {
        reconnect_after_ms: u64,
    },
}

#[derive(Serialize)]
struct Server {
    version: &'static str,
}

#[derive(Serialize)]
struct Limits<'a> {
    max_message_bytes: usize,
    max_turns: usize,
    rate_limits: Vec<RateLimit<'a>>,
}

#[derive(Serialize)]
struct RateLimit<'a> {
    policy: &'a str,
    quota: u32,
    window_s: u64,
    remaining: u32,
    reset_s: u64,
}

impl<'a> From<&'a Standing> for RateLimit<'a> {
    fn from(standing: &'a Standing) -> Self {
        Self {
            policy: &standing.policy.name,
            quota: standing.policy.quota,
            window_s: standing.policy.window.as_secs(),
            remaining: standing.remaining,
            reset_s: standing.reset.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX),
        }
    }
}

/// The first frame of every socket: what the client needs to know to behave.
pub(super) fn hello(connection: &Connection, config: &Config, standings: &[Standing]) -> Outgoing {
    let frame = ServerFrame::Hello {
        connection_id: connection.id(),
        protocol: PROTOCOL,
        server: Server { version: env!("CARGO_PKG_VERSION") },
        heartbeat_interval_ms: millis(*config.websocket.heartbeat_interval),
        idle_timeout_ms: millis(*config.websocket.idle_ttl),
        limits: Limits {
            max_message_bytes: config.server.max_body.0,
            max_turns: config.turns.max_per_socket.get(),
            rate_limits: standings.iter().map(RateLimit::from).collect(),
        },
    };
    outgoing(Frame::Hello, &frame)
}

/// An event of a followed turn: its own JSON, made once for all readers, with `ref` after `type`.
pub(super) fn event(reference: &Reference, event: &Event) -> Outgoing {
    let json = String::from_utf8_lossy(event.json());
    let after_type = r#"{"type":"""#.len() + event.body.name().len();
    let (head, tail) = json.split_at_checked(after_type).unwrap_or((&json, ""));
    // A reference may have quotes and backslashes in it.
    let reference = serde_json::to_string(reference.as_str()).unwrap_or_default();
    Outgoing { label: Frame::Event, text: [head, r#","ref":"#, &reference, tail].concat() }
}

/// The answer to a `cancel`.
pub(super) fn cancelling(reference: &Reference, turn_id: TurnId, status: TurnStatus) -> Outgoing {
    outgoing(Frame::Cancelling, &ServerFrame::Cancelling { reference: reference.as_str(), turn_id, status })
}

/// The answer to what cannot be done.
pub(super) fn error(reference: Option<&Reference>, problem: &Problem, request_id: &RequestId) -> Outgoing {
    let error = problem.to_json(request_id, false);
    outgoing(Frame::Error, &ServerFrame::Error { reference: reference.map(Reference::as_str), error })
}

/// Answers an `auth` frame that was right.
pub(super) fn authenticated(reference: &Reference, expires_at: Option<Timestamp>) -> Outgoing {
    let reference = reference.as_str();
    outgoing(Frame::Authenticated, &ServerFrame::Authenticated { reference, expires_at })
}

/// The answer to a `ping`.
pub(super) fn pong(reference: Option<&Reference>) -> Outgoing {
    let reference = reference.map(Reference::as_str);
    outgoing(Frame::Pong, &ServerFrame::Pong { reference, time: Timestamp::now() })
}

/// Says that this replica is stopping.
pub(super) fn draining(reconnect_after: std::time::Duration) -> Outgoing {
    outgoing(Frame::Draining, &ServerFrame::Draining { reconnect_after_ms: millis(reconnect_after) })
}

fn outgoing(label: Frame, frame: &ServerFrame<'_>) -> Outgoing {
    Outgoing { label, text: serde_json::to_string(frame).unwrap_or_default() }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{ErrorCode, Failure};

    const EVENT: &str = r#"{"type":"reply.delta","id":"1-5","turn_id":"01KASQ6W8V3Z0Q4T5Y7M2N9PBC-3fa2","time":"2026-11-23T19:00:00.410Z","persona":"historian","text":"There was"}"#;

    fn reference(text: &str) -> Reference {
        Reference::try_from(text).unwrap()
    }

    #[test]
    fn an_event_is_told_with_its_reference_after_its_type() {
        let told = event(&reference("c-1"), &serde_json::from_str(EVENT).unwrap());
        let start = r#"{"type":"reply.delta","ref":"c-1","id":"1-5","turn_id":"#;
        assert!(told.text.starts_with(start), "{}", told.text);
        assert_eq!(told.text.replacen(r#""ref":"c-1","#, "", 1), EVENT);
    }

    #[test]
    fn a_reference_of_quotes_and_backslashes_stays_what_it_is() {
        let told = event(&reference(r#""\"}"#), &serde_json::from_str(EVENT).unwrap());
        let told: Value = serde_json::from_str(&told.text).unwrap();
        assert_eq!(told["ref"], r#""\"}"#);
    }

    #[test]
    fn an_error_frame_has_a_request_id_and_no_instance() {
        let problem = Failure::new(ErrorCode::TurnInProgress, "This conversation is busy.").into();
        let frame = error(Some(&reference("c-1")), &problem, &"7f3c2a9e".parse().unwrap());
        let told: Value = serde_json::from_str(&frame.text).unwrap();
        assert_eq!((&told["type"], &told["ref"]), (&"error".into(), &"c-1".into()));
        assert_eq!(told["error"]["status"], 409);
        assert_eq!(told["error"]["request_id"], "7f3c2a9e");
        assert_eq!(told["error"].get("instance"), None);
    }
}
