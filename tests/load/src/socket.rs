//! A WebSocket to a deployment: small buffers, and pings answered by whoever reads.

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use http::HeaderValue;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::dial::{Dialer, Pipe};
use crate::fault::{BROKEN, Fault, UNREADABLE};
use crate::target::Target;

/// Thousands of sockets have one each.
const READ_BUFFER: usize = 4 << 10;

/// An open socket.
pub struct Socket(WebSocketStream<Box<dyn Pipe>>);

/// What came over a socket.
pub enum Frame {
    /// JSON.
    Text(Utf8Bytes),
    /// The server's ping; the pong goes out with the next read.
    Ping,
    /// The server closed it, with this code.
    Closed(u16),
}

impl Socket {
    /// Opens one; the first frame, `hello`, is not read yet.
    pub async fn open(dialer: &Dialer, target: &Target, token: Option<&HeaderValue>) -> Result<Self, Fault> {
        let pipe = dialer.connect(target).await?;
        let url = format!("ws://{}{}", target.authority, target.path("/api/v1/chat/ws"));
        let mut request = url.into_client_request().map_err(|_| UNREADABLE)?;
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("polylogue.v1"));
        if let Some(token) = token {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(16 << 20);
        match client_async_with_config(request, pipe, Some(config)).await {
            Ok((stream, _)) => Ok(Self(stream)),
            Err(Error::Http(answer)) => {
                let code = answer.headers().get("problem-code").and_then(|code| code.to_str().ok());
                Err(Fault::answered(answer.status().as_u16(), code))
            }
            Err(_) => Err(BROKEN),
        }
    }

    /// Sends a frame.
    pub async fn send(&mut self, text: String) -> Result<(), Fault> {
        self.0.send(Message::Text(text.into())).await.map_err(|_| BROKEN)
    }

    /// The next frame.
    pub async fn next(&mut self) -> Result<Frame, Fault> {
        loop {
            return match self.0.next().await {
                Some(Ok(Message::Text(text))) => Ok(Frame::Text(text)),
                Some(Ok(Message::Ping(_))) => Ok(Frame::Ping),
                Some(Ok(Message::Close(frame))) => {
                    Ok(Frame::Closed(frame.map_or(1005, |frame| frame.code.into())))
                }
                Some(Ok(Message::Pong(_))) => continue,
                Some(Ok(Message::Binary(_) | Message::Frame(_))) => Err(UNREADABLE),
                Some(Err(_)) | None => Err(BROKEN),
            };
        }
    }

    /// Whether it is open, as far as can be seen without waiting: what came in the meantime is read.
    pub fn is_alive(&mut self) -> bool {
        loop {
            match self.next().now_or_never() {
                None => return true,
                Some(Ok(Frame::Text(_) | Frame::Ping)) => {}
                Some(Ok(Frame::Closed(_)) | Err(_)) => return false,
            }
        }
    }
}
