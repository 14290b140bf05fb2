//! Readers: a position in a turn's log that moves forward (`state.md` §4).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::audience::Seat;
use super::live::{Live, Seen};
use super::live_turns::left_of;
use super::{LogPage, LogUnavailable, Record, TurnLog};
use crate::words::{Event, EventId, TurnId};

/// Events taken from the durable log at once.
pub(super) const PAGE: usize = 256;

/// Pauses between reads while the log cannot be reached: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Why a turn cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No such turn, or it was forgotten.
    #[error("the turn is not known")]
    TurnUnknown,
    /// A position this turn never had.
    #[error("the event is not known")]
    EventUnknown,
    /// The log cannot be reached: at once when a reader begins, later only past the turn's deadline.
    #[error(transparent)]
    Unavailable(#[from] LogUnavailable),
}

/// Where a reader takes its events from.
enum Source {
    /// The owner's copy, and the place in it to look at next.
    Here(Seat, usize),
    /// The durable log, and what was read ahead.
    Log(VecDeque<Arc<Event>>),
}

/// A position in a turn's log. Serving it costs the turn nothing: nothing is queued for it.
pub struct Reader {
    turn: TurnId,
    position: EventId,
    log: Arc<dyn TurnLog>,
    source: Source,
    /// The terminal event was seen.
    ended: bool,
    /// Until then a log that cannot be reached is waited for.
    patience: Instant,
}

/// What a position means for a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Something follows, now or later.
    Goes,
    /// It is the terminal event.
    Ended,
    Unknown,
}

/// `epoch` is the owner's; `end` is the terminal event, if the turn has ended.
fn place(position: EventId, epoch: u64, end: Option<EventId>) -> Place {
    let never_was = position.epoch > epoch || (position.epoch == 0 && position != EventId::START);
    match end {
        _ if never_was => Place::Unknown,
        Some(end) if position > end => Place::Unknown,
        Some(end) if position == end => Place::Ended,
        Some(_) | None => Place::Goes,
    }
}

impl Reader {
    /// Reads the owner's copy from after `position`; `None` if nothing will follow.
    pub(super) fn of_live(
        live: Arc<Live>,
        position: EventId,
        log: Arc<dyn TurnLog>,
    ) -> Result<Option<Self>, ReadError> {
        let end = live.newest().and_then(|(newest, ends)| ends.then_some(newest));
        let (turn, patience) = (live.turn(), Instant::now() + left_of(live.record().deadline));
        match place(position, live.claim().epoch, end) {
            Place::Unknown => Err(ReadError::EventUnknown),
            Place::Ended => Ok(None),
            Place::Goes => {
                let index = live.index_after(position);
                let source = Source::Here(Seat::take(live), index);
                Ok(Some(Self { turn, position, log, source, ended: false, patience }))
            }
        }
    }

    /// Reads the durable log from after `position`; `None` if nothing will follow.
    pub(super) async fn of_log(
        turn: TurnId,
        position: EventId,
        log: Arc<dyn TurnLog>,
    ) -> Result<Option<Self>, ReadError> {
        let page = log.read(turn, position, PAGE).await?;
        let LogPage { record, events } = page.ok_or(ReadError::TurnUnknown)?;
        match place(position, record.epoch, end(&record)) {
            Place::Unknown => Err(ReadError::EventUnknown),
            Place::Ended => Ok(None),
            Place::Goes => {
                let (source, patience) =
                    (Source::Log(events.into()), Instant::now() + left_of(record.deadline));
                Ok(Some(Self { turn, position, log, source, ended: false, patience }))
            }
        }
    }

    /// The turn it reads.
    pub fn turn(&self) -> TurnId {
        self.turn
    }

    /// The last event it saw, or where it began.
    pub fn position(&self) -> EventId {
        self.position
    }

    /// Ends the reading from our side: the turn does not count this as a reader that left by itself.
    pub fn dismiss(mut self) {
        if let Source::Here(seat, _) = &mut self.source {
            seat.dismiss();
        }
    }

    /// The next event, waiting for it; `None` after the terminal one. Cancel-safe: what was not returned comes again.
    pub async fn next(&mut self) -> Result<Option<Arc<Event>>, ReadError> {
        while !self.ended {
            let found = match &mut self.source {
                Source::Here(seat, index) => here(seat.live(), index, self.position).await?,
                Source::Log(ahead) => match ahead.pop_front() {
                    Some(event) => Found::Event(event),
                    None => self.read_on().await?,
                },
            };
            match found {
                Found::Event(event) => {
                    self.position = event.id;
                    self.ended = event.body.is_terminal();
                    return Ok(Some(event));
                }
                Found::Page(page) => self.source = Source::Log(page),
                Found::End => self.ended = true,
            }
        }
        Ok(None)
    }

    async fn read_on(&self) -> Result<Found, ReadError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.log.read(self.turn, self.position, PAGE).await {
                Ok(None) => return Err(ReadError::TurnUnknown),
                Ok(Some(page)) if !page.events.is_empty() => return Ok(Found::Page(page.events.into())),
                Ok(Some(LogPage { record, .. })) => match end(&record) {
                    Some(end) if end == self.position => return Ok(Found::End),
                    Some(_) => return Err(ReadError::EventUnknown),
                    None => self.log.changed(self.turn, self.position).await,
                },
                Err(error) if Instant::now() >= self.patience => return Err(error.into()),
                Err(_) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

enum Found {
    Event(Arc<Event>),
    Page(VecDeque<Arc<Event>>),
    End,
}

/// Waits for the owner's copy to have something at `index`, and moves it on.
async fn here(live: &Live, index: &mut usize, position: EventId) -> Result<Found, ReadError> {
    loop {
        let mut news = std::pin::pin!(live.news().notified());
        let seen = match live.look(*index, position) {
            Seen::Wait => {
                // From here on no news is missed, so what came before can be looked up now.
                news.as_mut().enable();
                live.look(*index, position)
            }
            seen @ (Seen::Event(..) | Seen::End(_) | Seen::Elsewhere) => seen,
        };
        match seen {
            Seen::Event(event, next) => {
                *index = next;
                return Ok(Found::Event(event));
            }
            Seen::End(end) if end == position => return Ok(Found::End),
            Seen::End(_) => return Err(ReadError::EventUnknown),
            Seen::Elsewhere => return Ok(Found::Page(VecDeque::new())),
            Seen::Wait => news.await,
        }
    }
}

fn end(record: &Record) -> Option<EventId> {
    record.status.is_terminal().then_some(record.last)
}
