use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::documented;

/// A client of the socket protocol.
pub struct Socket {
    pub inner: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub hello: Value,
}

impl Socket {
    /// Opens a socket and takes its hello.
    pub async fn open(address: &str) -> Self {
        Self::try_open(address).await.unwrap()
    }

    /// Opens a socket and takes its hello, unless it is refused.
    pub async fn try_open(address: &str) -> Result<Self, Box<tungstenite::Error>> {
        let mut request = format!("ws://{address}/api/v1/chat/ws").into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", "polylogue.v1".parse().unwrap());
        let (inner, _) = tokio_tungstenite::connect_async(request).await?;
        let mut socket = Self { inner, hello: Value::Null };
        socket.hello = socket.next().await.map_err(|_| tungstenite::Error::ConnectionClosed)?;
        assert_eq!(socket.hello["type"], "hello");
        Ok(socket)
    }

    /// Opens a socket with more in its query, and more headers; the status if it is refused.
    pub async fn with(address: &str, query: &str, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        let mut request = format!("ws://{address}/api/v1/chat/ws{query}").into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", "polylogue.v1".parse().unwrap());
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((inner, _)) => {
                let mut socket = Self { inner, hello: Value::Null };
                socket.hello = socket.next().await.unwrap();
                Ok(socket)
            }
            Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Reads to the end: the close code; 0 if there was none.
    pub async fn closed(&mut self) -> u16 {
        loop {
            if let Err(close) = self.next().await {
                return close.map_or(0, |frame| frame.code.into());
            }
        }
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: Value) {
        self.try_send(frame).await.unwrap();
    }

    /// Sends a frame to somebody who may have gone.
    pub async fn try_send(&mut self, frame: Value) -> Result<(), Box<tungstenite::Error>> {
        Ok(self.inner.send(Message::text(frame.to_string())).await?)
    }

    /// The next JSON frame, or how the socket was closed.
    pub async fn next(&mut self) -> Result<Value, Option<CloseFrame>> {
        loop {
            let message =
                timeout(Duration::from_secs(20), self.inner.next()).await.expect("the socket is silent");
            match message {
                Some(Ok(Message::Text(text))) => {
                    return Ok(documented::frame(serde_json::from_str(&text).unwrap()));
                }
                Some(Ok(Message::Close(frame))) => return Err(frame),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// Everything up to and with the first frame of this type.
    pub async fn until(&mut self, kind: &str) -> Vec<Value> {
        let mut seen = Vec::new();
        loop {
            let frame = self
                .next()
                .await
                .unwrap_or_else(|close| panic!("closed ({close:?}) before {kind}: {seen:#?}"));
            let found = frame["type"] == kind;
            seen.push(frame);
            if found {
                return seen;
            }
        }
    }
}
