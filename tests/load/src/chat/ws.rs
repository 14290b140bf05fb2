//! Turns over a socket that is kept from turn to turn.

use std::time::Duration;

use super::turn::{Followed, Next};
use super::{Chat, User};
use crate::fault::{BROKEN, Fault, UNREADABLE};
use crate::outcome::Outcome;
use crate::socket::{Frame, Socket};
use crate::verify::{Event, Problem};

/// The pause before a broken socket is opened again; doubled with every attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

impl Chat {
    /// A `chat` frame, and its events. After a break the turn is resumed or, before its first event, asked for again
    /// with the same reference, which finds the same turn.
    pub(super) async fn over_socket(&self, user: &mut User, outcome: &mut Outcome) -> Result<(), Fault> {
        let mut reference = next_reference(self, user);
        let chat = serde_json::to_string(&self.request(user, Some(&reference))).map_err(|_| UNREADABLE)?;
        let mut followed = Followed::new(None, outcome, self.drop_after(user));
        let mut frame = chat.clone();
        let mut attempts = 0;
        loop {
            match self.exchanged(user, frame, &reference, &mut followed).await {
                Ok(Next::Done) => return followed.finish(),
                Ok(Next::Drop | Next::Read) => {}
                Err(fault) if attempts < self.resume_attempts && may_pass(&fault, &followed) => {
                    followed.outcome.broken += u64::from(attempts == 0);
                    tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(attempts.min(5))).await;
                    attempts += 1;
                }
                Err(fault) => return followed.give_up(fault),
            }
            frame = match followed.position() {
                Ok((turn, after)) => {
                    reference = next_reference(self, user);
                    resume(&reference, &turn, &after)
                }
                Err(_) => chat.clone(),
            };
        }
    }

    /// Sends a frame over the kept socket or a new one, and reads what answers it. The socket is kept if it is sound.
    async fn exchanged(
        &self,
        user: &mut User,
        frame: String,
        reference: &str,
        followed: &mut Followed<'_>,
    ) -> Result<Next, Fault> {
        let mut kept = user.socket.take();
        if kept.as_mut().is_some_and(|socket| !socket.is_alive()) {
            kept = None;
        }
        let mut socket = match kept {
            Some(kept) => kept,
            None => Socket::open(&self.dialer, self.home(user), self.token.as_ref()).await?,
        };
        let how = exchange(&mut socket, frame, reference, followed).await;
        let is_sound = match &how {
            Ok(next) => *next == Next::Done,
            Err(fault) => fault.status.is_some(),
        };
        user.socket = is_sound.then_some(socket);
        how
    }

    /// Reads the kept socket while its user thinks, so that pings are answered.
    pub(super) async fn keep_socket(&self, user: &mut User) {
        while let Some(socket) = &mut user.socket {
            if !matches!(socket.next().await, Ok(Frame::Text(_) | Frame::Ping)) {
                user.socket = None;
            }
        }
        std::future::pending().await
    }

    fn home(&self, user: &User) -> &crate::target::Target {
        &self.targets[user.home_at]
    }
}

fn next_reference(chat: &Chat, user: &mut User) -> String {
    user.references += 1;
    format!("{:x}-{}-{}", chat.run, user.number, user.references)
}

fn resume(reference: &str, turn: &str, after: &str) -> String {
    let after = if after.is_empty() { String::new() } else { format!(r#","after":"{after}""#) };
    format!(r#"{{"type":"resume","ref":"{reference}","turn_id":"{turn}"{after}}}"#)
}

/// Whether to come back: to a turn that is known whatever broke, and to ask for one where only the connection broke.
fn may_pass(fault: &Fault, followed: &Followed<'_>) -> bool {
    match fault.status {
        None => *fault != UNREADABLE,
        Some(status) => followed.check.turn().is_some() && matches!(status, 429 | 502 | 503 | 504),
    }
}

/// Sends a frame and reads what answers it.
async fn exchange(
    socket: &mut Socket,
    frame: String,
    reference: &str,
    followed: &mut Followed<'_>,
) -> Result<Next, Fault> {
    socket.send(frame).await?;
    loop {
        let text = match socket.next().await? {
            Frame::Text(text) => text,
            Frame::Ping => continue,
            Frame::Closed(code) => return Err(closed(code)),
        };
        followed.outcome.bytes += text.len() as u64;
        let event: Event<'_> = serde_json::from_str(&text).map_err(|_| UNREADABLE)?;
        match (&*event.kind, &event.reference) {
            ("hello" | "draining" | "pong", _) => {}
            ("error", _) => return Err(event.error.as_ref().map_or(UNREADABLE, Problem::fault)),
            (_, Some(given)) if given.0 == reference => match followed.take(&event)? {
                Next::Read => {}
                next @ (Next::Drop | Next::Done) => return Ok(next),
            },
            _ => followed.check.frame_differs(),
        }
    }
}

fn closed(code: u16) -> Fault {
    match code {
        1012 => Fault::of("closed_1012"),
        1013 => Fault::of("closed_1013"),
        1008 => Fault::of("closed_1008"),
        4002 => Fault::of("closed_4002"),
        _ => BROKEN,
    }
}
