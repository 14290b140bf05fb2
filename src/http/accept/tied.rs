//! The body of an answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::pace::Answering;
use super::streams::Stream;

/// What an HTTP/2 reader is handed at once: it is slow if it does not take as much within `server.slow_reader_timeout`.
const PIECE: usize = 4 * 1024;

/// A body that holds its request open until its last byte was taken.
pub(super) struct Tied {
    body: BoxBody<Bytes, io::Error>,
    _answering: Answering,
    metered: Option<Metered>,
}

/// What an HTTP/2 body is handed over by.
///
/// hyper asks for more as soon as the reader's window has room for what it was given, and not before: that is how a slow
/// reader is seen. After the last piece it would not ask again, so the last byte is a piece of its own: when it is asked
/// for, all others are as good as sent.
struct Metered {
    stream: Arc<Stream>,
    rest: Bytes,
}

impl Tied {
    pub(super) fn new(
        body: BoxBody<Bytes, io::Error>,
        answering: Answering,
        stream: Option<Arc<Stream>>,
    ) -> Self {
        let metered = stream.map(|stream| Metered { stream, rest: Bytes::new() });
        Self { body, _answering: answering, metered }
    }
}

impl Metered {
    fn next_piece(&mut self, is_last: bool) -> Bytes {
        let whole = self.rest.len();
        let length = if is_last && whole > 1 { whole - 1 } else { whole };
        self.rest.split_to(length.min(PIECE))
    }

    fn poll_frame(
        &mut self,
        body: &mut BoxBody<Bytes, io::Error>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.stream.waits(false);
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut *body).poll_frame(cx)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) if data.is_empty() => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        self.stream.waits(true);
        let piece = self.next_piece(body.is_end_stream());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl HttpBody for Tied {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Self { body, metered, .. } = self.get_mut();
        match metered {
            Some(metered) => metered.poll_frame(body, cx),
            None => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && self.metered.as_ref().is_none_or(|metered| metered.rest.is_empty())
    }

    /// Asked before the first piece is.
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
