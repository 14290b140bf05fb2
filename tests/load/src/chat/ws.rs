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
    /// A `chat` frame, and its events.
    pub(super) async fn over_socket(&self, user: &mut User, outcome: &mut Outcome) -> Result<(), Fault> {
        let reference = next_reference(self, user);
        let frame = serde_json::to_string(&self.request(user, Some(&reference))).map_err(|_| UNREADABLE)?;
        let drop_after = self.drop_after(user);
        let mut socket = match user.socket.take() {
            Some(kept) => kept,
            None => Socket::open(&self.dialer, self.home(user), self.token.as_ref()).await?,
        };
        let mut followed = Followed::new(None, outcome, drop_after);
        let mut how = exchange(&mut socket, frame, &reference, &mut followed).await;
        let mut attempts = 0;
        loop {
            match how {
                Ok(Next::Done) => {
                    user.socket = Some(socket);
                    return followed.finish();
                }
                // The other side answered, and its connection is sound.
                Err(fault) if fault.status.is_some() => {
                    user.socket = Some(socket);
                    return followed.give_up(fault);
                }
                Ok(Next::Drop | Next::Read) => {}
                Err(_) if attempts < self.resume_attempts && followed.check.turn().is_some() => {
                    followed.outcome.broken += u64::from(attempts == 0);
                    tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(attempts.min(5))).await;
                    attempts += 1;
                }
                Err(fault) => return followed.give_up(fault),
            }
            let (turn, after) = match followed.position() {
                Ok(position) => position,
                Err(fault) => return followed.give_up(fault),
            };
            let reference = next_reference(self, user);
            let resume =
                format!(r#"{{"type":"resume","ref":"{reference}","turn_id":"{turn}","after":"{after}"}}"#);
            how = match Socket::open(&self.dialer, self.home(user), self.token.as_ref()).await {
                Ok(opened) => {
                    socket = opened;
                    exchange(&mut socket, resume, &reference, &mut followed).await
                }
                // A status here is of the upgrade: there is no socket to keep.
                Err(fault) if attempts >= self.resume_attempts => return followed.give_up(fault),
                Err(_) => Err(BROKEN),
            };
        }
    }

    fn home(&self, user: &User) -> &crate::target::Target {
        &self.targets[user.home_at]
    }
}

fn next_reference(chat: &Chat, user: &mut User) -> String {
    user.references += 1;
    format!("{:x}-{}-{}", chat.run, user.number, user.references)
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
