//! What happens to the store itself.

use std::collections::BTreeSet;
use std::time::Duration;

use polylogue::words::{EventId, TurnId};
use tokio::time::Instant;

use super::{Inner, State, Store};

/// What a failover may not take back.
#[derive(Clone, Copy, Debug)]
pub struct Spared {
    pub births: bool,
    pub ends: bool,
}

impl State {
    /// Whether every turn of `other` is here too.
    fn knows_all_of(&self, other: &Self) -> bool {
        other.turns.keys().all(|turn| self.turns.contains_key(turn))
    }

    /// Whether every turn that has ended in `other` has ended here too.
    fn ended_all_of(&self, other: &Self) -> bool {
        other.turns.keys().all(|turn| !other.is_over(*turn) || self.is_over(*turn))
    }
}

impl Store {
    /// A failover to a copy that is up to `behind` older; says how many changes it took back.
    pub fn fail_over(&self, behind: Duration, spared: Spared) -> usize {
        let mut inner = self.inner();
        let since = Instant::now() - behind.min(self.began.elapsed());
        let now = &inner.state;
        let may_return = |(changed, state): &(Instant, State)| {
            *changed >= since
                && (!spared.births || state.knows_all_of(now))
                && (!spared.ends || state.ended_all_of(now))
        };
        let Some(place) = inner.past.iter().position(may_return) else { return 0 };
        let taken_back = inner.past.len() - place;
        let older = inner.past[place].1.clone();
        inner.past.truncate(place);
        inner.become_older(older);
        drop(inner);
        self.news.notify_waiters();
        taken_back
    }

    /// It comes back empty.
    pub fn forget_everything(&self) {
        let mut inner = self.inner();
        inner.past.clear();
        inner.become_older(State::default());
        drop(inner);
        self.news.notify_waiters();
    }

    /// Whether the event was there once and was forgotten.
    pub fn has_lost(&self, turn: TurnId, event: EventId) -> bool {
        self.inner().lost.contains(&(turn, event))
    }

    pub fn turns(&self) -> Vec<TurnId> {
        self.inner().state.turns.keys().copied().collect()
    }
}

impl Inner {
    fn become_older(&mut self, older: State) {
        let ids = |state: &State| -> BTreeSet<_> {
            let turns = state.turns.iter();
            turns.flat_map(|(turn, kept)| kept.events().map(|event| (*turn, event.id))).collect()
        };
        self.lost.extend(ids(&self.state).difference(&ids(&older)));
        self.state = older;
    }
}
