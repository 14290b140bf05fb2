//! A request's body: all of it, in time, or none.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use http_body_util::combinators::BoxBody;
use hyper::body::Body as HttpBody;
use poem::Request;
use poem::http::header;

use crate::config::Server;
use crate::http::problem::Problem;
use crate::shutdown::Shutdown;
use crate::words::{ErrorCode, Failure};

/// How much of a body that is too large is still taken and thrown away, and for how long. A client that is refused in the middle
/// of its upload often reads the answer only afterwards; a connection closed under it would look like a fault.
const LINGER_BYTES: usize = 8 * 1024 * 1024;
const LINGER: Duration = Duration::from_secs(5);

type Incoming = BoxBody<Bytes, io::Error>;

/// Replaces the body that arrives by one that is there.
pub(super) async fn take_in(
    request: &mut Request,
    server: &Server,
    shutdown: &Shutdown,
) -> Result<(), Problem> {
    let mut body = Incoming::from(request.take_body());
    if body.is_end_stream() {
        return Ok(());
    }
    if is_encoded(request) {
        let detail = "The body must be sent as it is, without Content-Encoding.";
        return Err(Failure::new(ErrorCode::UnsupportedMediaType, detail).into());
    }
    let most = server.max_body.0;
    if announced(request).is_some_and(|length| length > most) {
        return Err(too_large(request, body, most, shutdown));
    }
    match tokio::time::timeout(server.body_timeout.0, collected(&mut body, most)).await {
        Ok(Ok(bytes)) => {
            request.set_body(bytes);
            Ok(())
        }
        Ok(Err(Cut::TooLarge)) => Err(too_large(request, body, most, shutdown)),
        Ok(Err(Cut::Broken)) => {
            Err(Failure::new(ErrorCode::InvalidRequest, "The body could not be read to its end.").into())
        }
        Err(_) => Err(Failure::new(ErrorCode::RequestTimeout, "The body did not arrive in time.").into()),
    }
}

/// Why a body was not taken in.
enum Cut {
    TooLarge,
    Broken,
}

async fn collected(body: &mut Incoming, most: usize) -> Result<Bytes, Cut> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Cut::Broken)?.into_data() else { continue };
        if all.len() + data.len() > most {
            return Err(Cut::TooLarge);
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

fn is_encoded(request: &Request) -> bool {
    let encoding = request.headers().get(header::CONTENT_ENCODING);
    encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn announced(request: &Request) -> Option<usize> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(request: &Request, body: Incoming, most: usize, shutdown: &Shutdown) -> Problem {
    // Who waits for "100 Continue" has sent nothing, and reading would ask for it.
    if !request.headers().contains_key(header::EXPECT) {
        let hard = shutdown.hard().clone();
        shutdown.spawn(async move {
            tokio::select! {
                _ = discarded(body, LINGER_BYTES) => {}
                () = tokio::time::sleep(LINGER) => {}
                () = hard.cancelled() => {}
            }
        });
    }
    Failure::new(ErrorCode::PayloadTooLarge, format!("The body may have {most} bytes.")).into()
}

/// Reads a body and throws it away; false if it is larger than `most` bytes, and is not read to its end.
pub(super) async fn discarded(mut body: Incoming, most: usize) -> bool {
    let mut left = most;
    while let Some(Ok(frame)) = body.frame().await {
        let taken = frame.data_ref().map_or(0, Bytes::len);
        let Some(rest) = left.checked_sub(taken) else { return false };
        left = rest;
    }
    true
}
