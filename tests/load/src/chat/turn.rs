//! One turn as one client sees it, over one connection or several.

use super::LastTokens;
use crate::fault::{Fault, TRUNCATED, UNREADABLE};
use crate::outcome::Outcome;
use crate::sse::SseEvent;
use crate::verify::{Event, Seen, TurnCheck};

/// What to do after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Read on.
    Read,
    /// Drop the connection and resume.
    Drop,
    /// Nothing: the turn has ended.
    Done,
}

/// A turn that is being followed.
pub(super) struct Followed<'a> {
    pub(super) check: TurnCheck,
    pub(super) outcome: &'a mut Outcome,
    last_tokens: LastTokens,
    events: u64,
    drop_after: Option<u64>,
}

impl<'a> Followed<'a> {
    /// Follows a turn, which is not known yet over a socket.
    pub(super) fn new(turn: Option<&str>, outcome: &'a mut Outcome, drop_after: Option<u64>) -> Self {
        Self {
            check: turn.map_or_else(TurnCheck::default, TurnCheck::of),
            outcome,
            last_tokens: LastTokens::default(),
            events: 0,
            drop_after,
        }
    }

    /// Takes an event of a stream.
    pub(super) fn take_sse(&mut self, frame: &SseEvent<'_>) -> Result<Next, Fault> {
        let event: Event<'_> = serde_json::from_slice(&frame.data).map_err(|_| UNREADABLE)?;
        let is_same = |line: Option<&[u8]>, member: Option<&str>| line == member.map(str::as_bytes);
        let id = event.id.as_ref().map(|id| &*id.0);
        if !is_same(frame.id, id) || !is_same(frame.event, Some(&event.kind)) {
            self.check.frame_differs();
        }
        self.take(&event)
    }

    /// Takes an event.
    pub(super) fn take(&mut self, event: &Event<'_>) -> Result<Next, Fault> {
        match self.check.take(event)? {
            Seen::End => return Ok(Next::Done),
            Seen::Delta(reply) => self.outcome.token(self.last_tokens.of(reply)),
            Seen::Other => {}
        }
        self.events += 1;
        if self.drop_after.is_some_and(|after| self.events >= after) {
            self.drop_after = None;
            self.outcome.dropped += 1;
            return Ok(Next::Drop);
        }
        Ok(Next::Read)
    }

    /// The turn, to be resumed; without an event of it there is nothing to resume.
    pub(super) fn position(&self) -> Result<(String, String), Fault> {
        let turn = self.check.turn().ok_or(TRUNCATED)?;
        Ok((turn.to_owned(), self.check.last_id().to_owned()))
    }

    /// How it ended.
    pub(super) fn finish(self) -> Result<(), Fault> {
        let (result, flaws) = self.check.finish();
        self.outcome.flaws = flaws;
        result
    }

    /// How it ended for who gave up.
    pub(super) fn give_up(self, fault: Fault) -> Result<(), Fault> {
        self.finish().and(Err(fault.clone())).map_err(|_| fault)
    }
}
