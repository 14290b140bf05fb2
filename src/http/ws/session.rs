//! One socket from its `hello` to its close.

use futures_util::FutureExt as _;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use secrecy::SecretString;

use super::auth::{self, Watch};
use super::frames::{BadFrame, ClientFrame, Reference};
use super::pace::Pace;
use super::replies::{self, Outgoing};
use super::requests::{self, Answer, Ask, Outcome, Requests};
use super::turns::{Told, Turns};
use super::wire::Wire;
use crate::connections::{Connection, Due};
use crate::http::edge::busy;
use crate::http::problem::Problem;
use crate::http::{Identity, Services};
use crate::telemetry::metrics::{Direction, Frame, SocketEnd};
use crate::telemetry::traces::TraceContext;
use crate::words::{ErrorCode, Failure, RequestId, TurnId};

/// A socket and everything that goes on over it. It runs on a task of its own and has no other.
pub(super) struct Session {
    services: Services,
    identity: Identity,
    connection: Connection,
    wire: Wire,
    turns: Turns,
    requests: Requests,
    pace: Pace,
    watch: Watch,
    /// The span of the request that became this socket.
    upgraded_by: Option<TraceContext>,
}

/// Events that are written at once, if so many are there. In between the socket is listened to.
const MOST_AT_ONCE: usize = 64;

/// Whether the socket goes on, or why it ends.
type Step = Result<(), SocketEnd>;

impl Session {
    pub fn new(
        services: Services,
        identity: Identity,
        connection: Connection,
        wire: Wire,
        upgraded_by: Option<TraceContext>,
    ) -> Self {
        // Whoever shows a ticket is who the ticket was given to.
        let identity = Identity { principal: connection.principal().clone(), ..identity };
        let pace = Pace::new(services.config.websocket.max_frames_per_second, Instant::now());
        let (turns, requests) = (Turns::default(), Requests::default());
        let watch = Watch::over(&services.auth, identity.grant.as_ref());
        Self { services, identity, connection, wire, turns, requests, pace, watch, upgraded_by }
    }

    /// Serves the socket until either side ends it; turns go on without it. It is in a box because a future has room for what it is
    /// given twice: where that came in, and where it is used.
    pub async fn run(mut self: Box<Self>) {
        let end = match Box::pin(self.greet()).await {
            Ok(()) => self.serve().await,
            Err(end) => end,
        };
        Box::pin(self.close(end)).await;
    }

    async fn close(self: Box<Self>, end: SocketEnd) {
        let Self { connection, wire, turns, requests, .. } = *self;
        connection.close(end);
        drop(turns);
        wire.close(end).await;
        requests.finish().await;
    }

    async fn greet(&mut self) -> Step {
        let standings = requests::standings(&self.services, &self.identity).await;
        let hello = replies::hello(&self.connection, &self.services.config, &standings);
        self.send(hello).await
    }

    /// What came in goes first: it may be what the heartbeat waits for, and its pace is bounded. What is done about anything is
    /// boxed: most sockets do nothing, and should not have to hold the room for it.
    async fn serve(&mut self) -> SocketEnd {
        loop {
            let is_busy = !(self.turns.is_empty() && self.requests.is_idle());
            let step = tokio::select! {
                biased;
                () = self.watch.ended() => Err(SocketEnd::AuthExpired),
                message = self.wire.next(), if !self.requests.is_following() => Box::pin(self.heard(message)).await,
                due = self.connection.due(is_busy) => Box::pin(self.due(due)).await,
                answer = self.requests.next() => Box::pin(self.answered(answer)).await,
                told = self.turns.next() => Box::pin(self.told(told)).await,
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn heard(&mut self, message: Result<Message, SocketEnd>) -> Step {
        let message = message?;
        self.connection.heard();
        if !self.pace.keeps(Instant::now()) {
            return Err(SocketEnd::PolicyViolation);
        }
        match message {
            Message::Text(text) => self.frame(&text).await,
            Message::Binary(_) => Err(SocketEnd::UnsupportedData),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(()),
            Message::Close(_) => Err(SocketEnd::Normal),
        }
    }

    async fn due(&mut self, due: Due) -> Step {
        match due {
            Due::Ping => self.wire.send(Message::Ping(Bytes::new())).await,
            Due::Drain { reconnect_after } => self.send(replies::draining(reconnect_after)).await,
            Due::Close(end) => Err(end),
        }
    }

    async fn frame(&mut self, text: &str) -> Step {
        let frame = ClientFrame::parse(text, self.services.config.turns.max_personas.get());
        let label = frame.as_ref().map_or(Frame::Invalid, ClientFrame::label);
        self.services.metrics.websocket.messages.inc(&(Direction::In, label));
        if label != Frame::Ping {
            self.connection.active();
        }
        let identity = self.identity_of_frame();
        match frame {
            Ok(frame) => self.obey(frame, identity).await,
            Err(BadFrame { reference, problem }) => {
                self.refuse(reference.as_ref(), &problem, &identity.request_id).await
            }
        }
    }

    async fn obey(&mut self, frame: ClientFrame, identity: Identity) -> Step {
        let request_id = identity.request_id.clone();
        let span = requests::span(&frame, &request_id, self.upgraded_by.as_ref());
        let ask = |reference| Ask { services: self.services.clone(), identity, reference, span };
        match frame {
            ClientFrame::Chat(reference, request) if self.has_room_for(None) => {
                if self.services.admission.turns_away(true) {
                    return self.refuse(Some(&reference), &busy(), &request_id).await;
                }
                self.requests.chat(ask(reference), *request);
            }
            ClientFrame::Resume(reference, turn, after) if self.has_room_for(Some(turn)) => {
                self.requests.resume(ask(reference), turn, after);
            }
            ClientFrame::Cancel(reference, turn) if !self.requests.is_full() => {
                self.requests.cancel(ask(reference), turn);
            }
            ClientFrame::Chat(reference, _)
            | ClientFrame::Resume(reference, ..)
            | ClientFrame::Cancel(reference, _) => {
                return self.refuse(Some(&reference), &self.full(), &request_id).await;
            }
            ClientFrame::Auth(reference, token) => return self.renew(&reference, &token, &request_id).await,
            ClientFrame::Ping(reference) => return self.send(replies::pong(reference.as_ref())).await,
        }
        Ok(())
    }

    /// A credential of the same caller takes the place of the one that is about to end.
    async fn renew(&mut self, reference: &Reference, token: &SecretString, request_id: &RequestId) -> Step {
        match auth::renewed(&self.services, &self.identity, token).await {
            Ok(grant) => {
                let authenticated = replies::authenticated(reference, grant.expires_at());
                self.watch = Watch::over(&self.services.auth, Some(&grant));
                self.identity.grant = Some(grant);
                self.send(authenticated).await
            }
            Err(problem) => self.refuse(Some(reference), &problem, request_id).await,
        }
    }

    async fn answered(&mut self, answer: Answer) -> Step {
        let Answer { reference, request_id, outcome } = answer;
        match outcome {
            Outcome::Follow(Some(reader)) => self.turns.follow(reference, reader),
            Outcome::Follow(None) => {}
            Outcome::Cancelling(turn, status) => {
                return self.send(replies::cancelling(&reference, turn, status)).await;
            }
            Outcome::Refused(problem) => return self.refuse(Some(&reference), &problem, &request_id).await,
        }
        Ok(())
    }

    /// Tells what is there already with the first: under load, one write for many tokens.
    async fn told(&mut self, first: Option<Told>) -> Step {
        let mut told = Some(first);
        let mut left = MOST_AT_ONCE;
        while let Some(next) = told {
            self.tell(next).await?;
            left -= 1;
            told = if left > 0 { self.turns.next().now_or_never() } else { None };
        }
        self.wire.flush().await
    }

    async fn tell(&mut self, told: Option<Told>) -> Step {
        let Some((reference, turn, event)) = told else { return Ok(()) };
        match event {
            Ok(event) => {
                let Outgoing { label, text } = replies::event(&reference, &event);
                self.wire.queue(Message::text(text)).await?;
                self.was_sent(label);
                Ok(())
            }
            Err(error) => {
                let request_id = self.identity.request_id.clone();
                requests::log_fault(&error, &request_id);
                let problem = Problem { turn: Some(turn), ..error.into() };
                self.refuse(Some(&reference), &problem, &request_id).await
            }
        }
    }

    async fn refuse(
        &mut self,
        reference: Option<&Reference>,
        problem: &Problem,
        request_id: &RequestId,
    ) -> Step {
        self.send(replies::error(reference, problem, request_id)).await
    }

    async fn send(&mut self, frame: Outgoing) -> Step {
        let Outgoing { label, text } = frame;
        self.wire.send(Message::text(text)).await?;
        self.was_sent(label);
        Ok(())
    }

    fn was_sent(&mut self, label: Frame) {
        self.services.metrics.websocket.messages.inc(&(Direction::Out, label));
        self.connection.sent();
        if label != Frame::Pong {
            self.connection.active();
        }
    }

    /// Each frame is a request of its own: its id is in the log lines of what it starts.
    fn identity_of_frame(&self) -> Identity {
        Identity { request_id: RequestId::random(), arrived: Instant::now(), ..self.identity.clone() }
    }

    /// Whether one more turn can be followed; one that is followed already just changes its reference.
    fn has_room_for(&self, turn: Option<TurnId>) -> bool {
        let most = self.services.config.turns.max_per_socket.get();
        self.turns.len() < most || turn.is_some_and(|turn| self.turns.follows(turn))
    }

    fn full(&self) -> Problem {
        let most = self.services.config.turns.max_per_socket;
        let detail = format!("A socket may follow {most} turns at once; wait until one has ended.");
        Failure::new(ErrorCode::Overloaded, detail).into()
    }
}
