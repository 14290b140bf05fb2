//! One kept HTTP/1.1 connection: no pool to ask, no lock, one task.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use crate::dial::Dialer;
use crate::fault::{BROKEN, Fault, TIMEOUT, UNREADABLE};
use crate::target::Target;

/// A whole answer above this is not one of ours.
const MAX_BODY: usize = 16 << 20;
/// An error's body may be anything; this much of it is read for the sake of the connection.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// A client that has at most one request at a time.
pub struct HttpClient {
    dialer: Dialer,
    target: Target,
    token: Option<HeaderValue>,
    headers: HeaderMap,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// What a request asks.
pub struct Ask<'a> {
    /// `GET` or `POST`.
    pub method: Method,
    /// Below the target.
    pub path: &'a str,
    /// JSON, or nothing.
    pub body: Bytes,
    /// What may come back.
    pub accept: &'static str,
    /// One more header.
    pub header: Option<(&'static str, &'a str)>,
}

impl HttpClient {
    /// A client that connects when it is used.
    pub fn new(dialer: Dialer, target: Target, token: Option<HeaderValue>) -> Self {
        Self { dialer, target, token, headers: HeaderMap::new(), connection: None }
    }

    /// Sends these with every request.
    pub fn with_headers(self, headers: HeaderMap) -> Self {
        Self { headers, ..self }
    }

    /// Sends a request; anything but a success is a fault, and read to its end.
    pub async fn ask(&mut self, ask: Ask<'_>) -> Result<Response<Incoming>, Fault> {
        let response = self.send(ask).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.headers().get("problem-code").and_then(|code| code.to_str().ok());
        let fault = Fault::answered(response.status().as_u16(), code);
        let rest = response.into_body().collect();
        if !matches!(tokio::time::timeout(ERROR_BODY_TIMEOUT, rest).await, Ok(Ok(_))) {
            self.hang_up();
        }
        Err(fault)
    }

    async fn send(&mut self, ask: Ask<'_>) -> Result<Response<Incoming>, Fault> {
        let request = self.request(ask)?;
        let connection = match self.connection.take() {
            Some(mut kept) => kept.ready().await.is_ok().then_some(kept),
            None => None,
        };
        let mut connection = match connection {
            Some(kept) => kept,
            None => self.connect().await?,
        };
        let answered = connection.send_request(request).await;
        self.connection = Some(connection);
        answered.map_err(|error| {
            self.hang_up();
            if error.is_timeout() { TIMEOUT } else { BROKEN }
        })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Fault> {
        let pipe = self.dialer.connect(&self.target).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(pipe)).await.map_err(|_| BROKEN)?;
        // How it ended is seen by who waits for the answer.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    fn request(&self, ask: Ask<'_>) -> Result<Request<Full<Bytes>>, Fault> {
        let mut request = Request::builder()
            .method(ask.method)
            .uri(self.target.path(ask.path))
            .header(HOST, &self.target.authority)
            .header(ACCEPT, ask.accept);
        if !ask.body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        if let Some((name, value)) = ask.header {
            request = request.header(name, value);
        }
        let mut request = request.body(Full::new(ask.body)).map_err(|_| UNREADABLE)?;
        request.headers_mut().extend(self.headers.clone());
        Ok(request)
    }

    /// Closes the connection, also in the middle of an answer.
    pub fn hang_up(&mut self) {
        self.connection = None;
    }
}

/// The whole body.
pub async fn whole(mut body: Incoming) -> Result<Bytes, Fault> {
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BROKEN)?.into_data() else { continue };
        if first.is_empty() {
            first = data;
            continue;
        }
        if more.is_empty() {
            more.extend_from_slice(&first);
        }
        more.extend_from_slice(&data);
        if more.len() > MAX_BODY {
            return Err(UNREADABLE);
        }
    }
    Ok(if more.is_empty() { first } else { more.freeze() })
}
