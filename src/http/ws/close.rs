//! Close codes: how an end is told to the other side.

use std::borrow::Cow;

use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::telemetry::metrics::{Label as _, SocketEnd};

/// The close code of an end (`design.md` §4).
fn code(end: SocketEnd) -> u16 {
    match end {
        SocketEnd::Normal | SocketEnd::ClientGone => 1000,
        SocketEnd::ProtocolError => 1002,
        SocketEnd::UnsupportedData => 1003,
        SocketEnd::InvalidUtf8 => 1007,
        SocketEnd::PolicyViolation => 1008,
        SocketEnd::MessageTooBig => 1009,
        SocketEnd::Internal => 1011,
        SocketEnd::ServiceRestart => 1012,
        SocketEnd::TryAgainLater => 1013,
        SocketEnd::HeartbeatTimeout => 4000,
        SocketEnd::Idle => 4001,
        SocketEnd::SlowReader => 4002,
        SocketEnd::ConnectionLimit => 4500,
        SocketEnd::AuthExpired => 4501,
        SocketEnd::Replaced => 4502,
    }
}

/// The close frame of an end.
pub(super) fn frame(end: SocketEnd) -> CloseFrame {
    let reason: Cow<'static, str> = end.as_label().to_owned().into();
    CloseFrame { code: code(end).into(), reason: reason.as_ref().into() }
}

/// Whether the other side broke the protocol, so that nothing more can be read from it as frames.
pub(super) fn is_violation(end: SocketEnd) -> bool {
    matches!(end, SocketEnd::ProtocolError | SocketEnd::InvalidUtf8 | SocketEnd::MessageTooBig)
}

/// What an error of the socket means for its end.
pub(super) fn end_of(error: &Error) -> SocketEnd {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => SocketEnd::Normal,
        Error::Io(_) | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => SocketEnd::ClientGone,
        Error::Protocol(_) | Error::AttackAttempt => SocketEnd::ProtocolError,
        Error::Utf8(_) => SocketEnd::InvalidUtf8,
        Error::Capacity(_) => SocketEnd::MessageTooBig,
        Error::WriteBufferFull(_) => SocketEnd::SlowReader,
        Error::Tls(_) | Error::Url(_) | Error::Http(_) | Error::HttpFormat(_) => SocketEnd::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_a_code_that_may_be_sent_and_its_name_as_reason() {
        for end in SocketEnd::ALL {
            let frame = frame(*end);
            assert!(frame.code.is_allowed(), "{frame}");
            assert_eq!(frame.reason.as_str(), end.as_label());
        }
    }
}
