//! Following turns that are owned elsewhere: one task for all of them, however many readers each has.
//!
//! It asks for what is new every [`NEWS`] while there is news, more rarely the longer there was none, and keeps the
//! newest events, so that readers take them from here. Nothing blocks in Redis, and nothing is subscribed to.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::record::{self, events};
use super::{ENTRIES, scripts};
use crate::redis::{Redis, RedisError};
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::Metrics;
use crate::turnlog::fold::end_of;
use crate::turnlog::{LogPage, Record};
use crate::words::{Event, EventId, TurnId};

/// How often a turn with news is asked for more, and the longest pause without any.
const NEWS: Duration = Duration::from_millis(25);
const SILENCE: Duration = Duration::from_millis(250);
/// A pause is such a part of the silence before it: what comes then is late by a twelfth of what it took, on average.
const OF_SILENCE: u32 = 6;

/// A reader waits at most so long, whatever happens.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A turn nobody has asked for is not followed any longer than this.
const UNWANTED: Duration = Duration::from_secs(3);

/// Turns followed at most, far above what one replica serves, and events kept of each: a reader that is further behind
/// reads the log itself.
const MOST_TURNS: usize = 10_000;
const MOST_EVENTS: usize = 512;

/// Turns asked for side by side; on one connection that is one write.
const AT_ONCE: usize = 128;

/// A turn as it is followed: all its events above `from` are here.
struct Turn {
    from: EventId,
    events: VecDeque<Arc<Event>>,
    /// Known from a reader's first look.
    record: Option<Record>,
    /// It has ended, or is not known any more: nothing will follow.
    is_over: bool,
    news: Arc<Notify>,
    due: Instant,
    news_at: Instant,
    wanted: Instant,
}

impl Turn {
    fn new(from: EventId) -> Self {
        let now = Instant::now();
        let (events, news) = (VecDeque::new(), Arc::default());
        Self { from, events, record: None, is_over: false, news, due: now, news_at: now, wanted: now }
    }

    fn last(&self) -> EventId {
        self.events.back().map_or(self.from, |event| event.id)
    }

    fn take_in(&mut self, new: Vec<Arc<Event>>, is_over: bool) {
        let has_news = !new.is_empty() || is_over;
        let last = self.last();
        self.events.extend(new.into_iter().filter(|event| event.id > last));
        while self.events.len() > MOST_EVENTS {
            self.from = self.events.pop_front().map_or(self.from, |event| event.id);
        }
        self.is_over |= is_over;
        let now = Instant::now();
        if has_news {
            self.news_at = now;
            self.news.notify_waiters();
        }
        self.due = now + ((now - self.news_at) / OF_SILENCE).clamp(NEWS, SILENCE);
    }

    fn page(&self, after: EventId, limit: usize) -> Option<LogPage> {
        if after < self.from || after >= self.last() {
            return None;
        }
        let mut record = self.record.clone()?;
        let start = self.events.partition_point(|event| event.id <= after);
        let events: Vec<_> = self.events.range(start..).take(limit).cloned().collect();
        record.last = self.last();
        record.epoch = record.epoch.max(record.last.epoch);
        record.status = self.events.back().and_then(|event| end_of(event)).unwrap_or(record.status);
        Some(LogPage { record, events })
    }
}

/// All turns followed here.
pub(super) struct Followed {
    redis: Redis,
    metrics: Arc<Metrics>,
    turns: Mutex<HashMap<TurnId, Turn>>,
    wake: Notify,
}

impl Followed {
    /// Follows nothing yet; the task ends with `keeping`.
    pub(super) fn start(redis: Redis, metrics: Arc<Metrics>, keeping: &Shutdown) -> Arc<Self> {
        let followed = Arc::new(Self { redis, metrics, turns: Mutex::default(), wake: Notify::new() });
        let (follows, closing) = (Arc::clone(&followed), keeping.closing().clone());
        keeping.spawn(async move {
            tokio::select! {
                () = closing.cancelled() => {}
                never = follows.follow() => match never {},
            }
        });
        followed
    }

    /// Events above `after`, if they are here.
    pub(super) fn page(&self, turn: TurnId, after: EventId, limit: usize) -> Option<LogPage> {
        let mut turns = self.turns();
        let turn = turns.get_mut(&turn)?;
        turn.wanted = Instant::now();
        turn.page(after, limit)
    }

    /// Takes in what a reader found in Redis itself.
    pub(super) fn learn(&self, record: &Record) {
        if let Some(turn) = self.turns().get_mut(&record.turn) {
            turn.record = Some(record.clone());
            // It was not known for a while, and is again.
            turn.is_over &= record.status.is_terminal();
        }
    }

    /// Waits for an event above `seen`, or the end; not for ever.
    pub(super) async fn changed(&self, turn: TurnId, seen: EventId) {
        let news = {
            let mut turns = self.turns();
            if turns.len() >= MOST_TURNS && !turns.contains_key(&turn) {
                None
            } else {
                let turn = turns.entry(turn).or_insert_with(|| Turn::new(seen));
                turn.wanted = Instant::now();
                if turn.is_over || turn.last() > seen {
                    return;
                }
                Some(Arc::clone(&turn.news))
            }
        };
        let Some(news) = news else { return tokio::time::sleep(SILENCE).await };
        let mut news = std::pin::pin!(news.notified());
        news.as_mut().enable();
        // From here on no news is missed; what came before can be seen now.
        let is_there = self.turns().get(&turn).is_some_and(|turn| turn.is_over || turn.last() > seen);
        if !is_there {
            self.wake.notify_one();
            // Whether it was news or the time: the caller looks.
            let _ = timeout(LOOK_AGAIN, news).await;
        }
    }

    async fn follow(&self) -> std::convert::Infallible {
        loop {
            let (due, next) = self.due();
            if due.is_empty() {
                let woken = self.wake.notified();
                match next {
                    Some(next) => drop(tokio::time::timeout_at(next, woken).await),
                    None => woken.await,
                }
                continue;
            }
            let looks = stream::iter(due).map(|(turn, from)| self.look(turn, from));
            looks.buffer_unordered(AT_ONCE).collect::<()>().await;
            sleep_until(Instant::now() + Duration::from_millis(1)).await;
        }
    }

    /// What is to be asked for now, from where; and when there will be something next.
    fn due(&self) -> (Vec<(TurnId, EventId)>, Option<Instant>) {
        let now = Instant::now();
        let mut turns = self.turns();
        turns.retain(|_, turn| now - turn.wanted < UNWANTED);
        self.metrics.turn_log.followed.set(&(), i64::try_from(turns.len()).unwrap_or(i64::MAX));
        let open = || turns.iter().filter(|(_, turn)| !turn.is_over);
        let due = open().filter(|(_, turn)| turn.due <= now).map(|(id, turn)| (*id, turn.last()));
        let forget = turns.values().map(|turn| turn.wanted + UNWANTED).min();
        let next = open().map(|(_, turn)| turn.due).min().into_iter().chain(forget).min();
        (due.collect(), next)
    }

    async fn look(&self, turn: TurnId, from: EventId) {
        let keys = self.redis.keys();
        let call = scripts::FOLLOW.on([keys.turn(turn), keys.log(turn)]).arg(from.to_string()).arg(ENTRIES);
        let answer: Result<(String, Vec<Vec<u8>>), RedisError> = self.redis.run(&call).await;
        let read = answer.map_err(|error| error.to_string()).and_then(|(status, entries)| {
            let events = events(&entries, from).map_err(|error: record::Unreadable| error.to_string())?;
            Ok((status, events))
        });
        let mut turns = self.turns();
        let Some(followed) = turns.get_mut(&turn) else { return };
        match read {
            Ok((status, events)) => {
                let is_over = status != "running" && events.len() < ENTRIES;
                followed.take_in(events, is_over);
            }
            Err(error) => {
                tracing::debug!(turn_id = %turn, error, "a turn owned elsewhere could not be read on");
                followed.due = Instant::now() + SILENCE;
            }
        }
    }

    fn turns(&self) -> MutexGuard<'_, HashMap<TurnId, Turn>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_after_a_silence_is_late_by_a_sixth_of_it_at_most() {
        let mut turn = Turn::new(EventId { epoch: 1, seq: 1 });
        let began = Instant::now();
        let mut asked = 0;
        while began.elapsed() < Duration::from_secs(2) {
            let silence = began.elapsed();
            turn.take_in(Vec::new(), false);
            let pause = turn.due - Instant::now();
            assert!((NEWS..=SILENCE).contains(&pause), "{pause:?}");
            assert!(pause <= NEWS.max(silence / 6), "{pause:?} after {silence:?}");
            asked += 1;
            tokio::time::advance(pause).await;
        }
        assert!(asked < 25, "asked {asked} times in two seconds");
        turn.take_in(Vec::new(), true);
        assert_eq!(turn.due - Instant::now(), NEWS, "there was news");
    }
}
