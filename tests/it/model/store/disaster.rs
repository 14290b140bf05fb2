//! What happens to the store itself.

use std::collections::BTreeSet;
use std::time::Duration;

use polylogue::turnlog::{Appended, Claim, LogPage};
use polylogue::words::{EventId, TurnId};
use tokio::time::Instant;

use super::{Inner, Kept, State, Store};

/// A turn that was forgotten with everything else.
#[derive(Clone)]
pub struct Wiped {
    pub page: LogPage,
    /// For how long it had ended.
    pub ended_for: Option<Duration>,
}

impl Store {
    /// A failover to a copy that is up to `behind` older; says how many changes it took back.
    pub fn fail_over(&self, behind: Duration) -> usize {
        let mut inner = self.inner();
        let since = Instant::now() - behind.min(self.began.elapsed());
        let Some(place) = inner.past.iter().position(|(changed, _)| *changed >= since) else { return 0 };
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
        let wiped = |kept: &Kept| Wiped {
            page: kept.page(EventId::START, usize::MAX),
            ended_for: kept.ended.map(|ended| ended.elapsed()),
        };
        let wiped: Vec<_> = inner.state.turns.iter().map(|(turn, kept)| (*turn, wiped(kept))).collect();
        inner.wiped.extend(wiped);
        inner.past.clear();
        inner.become_older(State::default());
        drop(inner);
        self.news.notify_waiters();
    }

    /// Whether the event was there once and was forgotten.
    pub fn has_lost(&self, turn: TurnId, event: EventId) -> bool {
        self.inner().lost.contains(&(turn, event))
    }

    /// The turn as it was when the store forgot everything.
    pub fn wiped(&self, turn: TurnId) -> Option<Wiped> {
        self.inner().wiped.get(&turn).cloned()
    }

    /// Whether a failover took back a takeover, and the owner before it went on.
    pub fn was_given_back(&self, turn: TurnId) -> bool {
        self.inner().given_back.contains(&turn)
    }

    pub fn turns(&self) -> Vec<TurnId> {
        self.inner().state.turns.keys().copied().collect()
    }
}

impl Inner {
    pub(super) fn notes_epoch(&mut self, claim: &Claim, answer: Appended) {
        let newest = self.newest.get(&claim.turn).copied().unwrap_or_default();
        if matches!(answer, Appended::Ok { .. }) && claim.epoch < newest {
            self.given_back.insert(claim.turn);
        }
    }

    fn become_older(&mut self, older: State) {
        let ids = |state: &State| -> BTreeSet<_> {
            let turns = state.turns.iter();
            turns.flat_map(|(turn, kept)| kept.events().map(|event| (*turn, event.id))).collect()
        };
        self.lost.extend(ids(&self.state).difference(&ids(&older)));
        self.state = older;
    }
}
