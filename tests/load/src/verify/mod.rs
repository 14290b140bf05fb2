//! Looks at every event of a turn: none may be missing, doubled or out of order, and the texts must add up.

use std::borrow::Cow;

use serde::Deserialize;

use crate::fault::{Fault, TRUNCATED, UNREADABLE};

/// A jump of ids above this is not loss, it is nonsense; it bounds what is remembered as missing.
const MAX_JUMP: u64 = 100_000;

/// An event, borrowed from the bytes it came in.
#[derive(Deserialize)]
pub struct Event<'a> {
    /// What happened.
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
    /// Which `chat` or `resume` frame it answers, on a socket.
    #[serde(borrow, rename = "ref")]
    pub reference: Option<Text<'a>>,
    /// Its place in the turn.
    #[serde(borrow)]
    pub id: Option<Text<'a>>,
    /// Its turn.
    #[serde(borrow)]
    pub turn_id: Option<Text<'a>>,
    /// Who speaks.
    #[serde(borrow)]
    pub persona: Option<Text<'a>>,
    /// A piece of a reply.
    #[serde(borrow)]
    pub text: Option<Text<'a>>,
    /// A whole reply.
    #[serde(borrow)]
    pub content: Option<Text<'a>>,
    /// What went wrong.
    #[serde(borrow)]
    pub error: Option<Problem<'a>>,
}

/// A string without a copy, where it has no escapes.
#[derive(Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// What of a problem is counted.
#[derive(Deserialize)]
pub struct Problem<'a> {
    /// Its code.
    #[serde(borrow)]
    pub code: Cow<'a, str>,
    /// Its status.
    pub status: u16,
}

impl Problem<'_> {
    /// As a fault.
    pub fn fault(&self) -> Fault {
        Fault::answered(self.status, Some(&self.code))
    }
}

/// What was wrong with the events of turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flaws {
    /// Ids that never came.
    pub lost: u64,
    /// Ids that came twice.
    pub doubled: u64,
    /// Ids that came after a later one.
    pub reordered: u64,
    /// Replies whose pieces do not make the whole, or that never ended.
    pub wrong_texts: u64,
    /// Events after the turn's end, and second ends.
    pub after_end: u64,
    /// Frames whose `id` or `event` line differs from their data, or of another turn.
    pub wrong_frames: u64,
}

impl Flaws {
    /// Adds another turn's.
    pub fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
        self.wrong_texts += other.wrong_texts;
        self.after_end += other.after_end;
        self.wrong_frames += other.wrong_frames;
    }

    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What an event was to who measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A piece of the reply with this number.
    Delta(usize),
    /// The turn's end.
    End,
    /// Anything else.
    Other,
}

#[derive(Default)]
struct Reply {
    persona: String,
    text: String,
    has_ended: bool,
}

/// The events of one turn, as one client saw them, over all its connections.
#[derive(Default)]
pub struct TurnCheck {
    turn: String,
    epoch: u64,
    seq: u64,
    last_id: String,
    missing: Vec<u64>,
    replies: Vec<Reply>,
    failure: Option<Fault>,
    end: Option<Result<(), Fault>>,
    flaws: Flaws,
}

impl TurnCheck {
    /// Knows the turn before its first event.
    pub fn of(turn: &str) -> Self {
        Self { turn: turn.to_owned(), ..Self::default() }
    }

    /// Takes the next event.
    pub fn take(&mut self, event: &Event<'_>) -> Result<Seen, Fault> {
        let id = event.id.as_ref().ok_or(UNREADABLE)?;
        if self.end.is_some() {
            self.flaws.after_end += 1;
            return Ok(Seen::Other);
        }
        self.check_turn(event);
        if !self.place(&id.0)? {
            return Ok(Seen::Other);
        }
        let seen = self.apply(event);
        if seen == Seen::End {
            self.flaws.wrong_texts += self.replies.iter().filter(|reply| !reply.has_ended).count() as u64;
        }
        Ok(seen)
    }

    /// Counts a frame that contradicts itself.
    pub fn frame_differs(&mut self) {
        self.flaws.wrong_frames += 1;
    }

    fn check_turn(&mut self, event: &Event<'_>) {
        let Some(turn) = &event.turn_id else { return self.frame_differs() };
        if self.turn.is_empty() {
            self.turn.push_str(&turn.0);
        } else if self.turn != turn.0 {
            self.frame_differs();
        }
    }

    /// Finds the place of an id; whether it is new.
    fn place(&mut self, id: &str) -> Result<bool, Fault> {
        let (epoch, seq) = parts(id).ok_or(UNREADABLE)?;
        if epoch > self.epoch {
            self.settle_missing();
            (self.epoch, self.seq) = (epoch, 0);
        }
        if epoch < self.epoch {
            self.flaws.doubled += 1;
            return Ok(false);
        }
        if seq > self.seq {
            if seq - self.seq > MAX_JUMP {
                return Err(UNREADABLE);
            }
            self.missing.extend(self.seq + 1..seq);
            self.seq = seq;
            self.last_id.clear();
            self.last_id.push_str(id);
            return Ok(true);
        }
        match self.missing.iter().position(|missing| *missing == seq) {
            Some(at) => {
                self.missing.swap_remove(at);
                self.flaws.reordered += 1;
                Ok(true)
            }
            None => {
                self.flaws.doubled += 1;
                Ok(false)
            }
        }
    }

    fn settle_missing(&mut self) {
        self.flaws.lost += self.missing.drain(..).count() as u64;
    }

    fn apply(&mut self, event: &Event<'_>) -> Seen {
        let persona = event.persona.as_ref().map_or("", |persona| &persona.0);
        let failure = || event.error.as_ref().map_or(UNREADABLE, Problem::fault);
        match &*event.kind {
            "reply.delta" => {
                let at = self.reply(persona);
                self.replies[at].text.push_str(event.text.as_ref().map_or("", |text| &text.0));
                return Seen::Delta(at);
            }
            "reply.started" | "reply.reset" => {
                let at = self.reply(persona);
                self.replies[at].text.clear();
                self.replies[at].has_ended = false;
            }
            "reply.completed" | "reply.cancelled" => {
                let at = self.reply(persona);
                let reply = &mut self.replies[at];
                let is_same = event.content.as_ref().is_some_and(|content| content.0 == reply.text);
                self.flaws.wrong_texts += u64::from(!is_same || reply.has_ended);
                reply.has_ended = true;
            }
            "reply.failed" => {
                let at = self.reply(persona);
                self.replies[at].has_ended = true;
                self.failure = Some(failure());
            }
            "turn.completed" => return self.ends(self.failure.clone().map_or(Ok(()), Err)),
            "turn.failed" => return self.ends(Err(failure())),
            "turn.cancelled" => return self.ends(Err(Fault::of("turn_cancelled"))),
            _ => {}
        }
        Seen::Other
    }

    fn ends(&mut self, how: Result<(), Fault>) -> Seen {
        self.end = Some(how);
        Seen::End
    }

    fn reply(&mut self, persona: &str) -> usize {
        self.replies.iter().position(|reply| reply.persona == persona).unwrap_or_else(|| {
            self.replies.push(Reply { persona: persona.to_owned(), ..Reply::default() });
            self.replies.len() - 1
        })
    }

    /// The turn, once its first event came.
    pub fn turn(&self) -> Option<&str> {
        (!self.turn.is_empty()).then_some(&self.turn)
    }

    /// Where to go on after a break; empty before the first event.
    pub fn last_id(&self) -> &str {
        &self.last_id
    }

    /// How many replies began.
    pub fn reply_count(&self) -> usize {
        self.replies.len()
    }

    /// How the turn ended, and what was wrong on the way.
    pub fn finish(mut self) -> (Result<(), Fault>, Flaws) {
        self.settle_missing();
        (self.end.unwrap_or(Err(TRUNCATED)), self.flaws)
    }
}

fn parts(id: &str) -> Option<(u64, u64)> {
    let (epoch, seq) = id.split_once('-')?;
    Some((epoch.parse().ok()?, seq.parse().ok()?))
}

#[cfg(test)]
mod tests;
