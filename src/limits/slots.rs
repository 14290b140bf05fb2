//! What is remembered of each subject of one policy, bounded.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How many entries one insertion looks at: more than the one it adds, so that the table shrinks again after a flood,
/// and few, so that no decision pays for all of them.
const LOOKED_AT: usize = 8;

/// Something that means nothing any more after a moment (as time since the limiter began).
pub(super) trait Ends {
    /// That moment.
    fn ends(&self) -> Duration;
}

/// A table of subjects that never holds more than `most`: those that have ended leave first, then the oldest.
#[derive(Debug)]
pub(super) struct Slots<S> {
    by_subject: HashMap<Arc<str>, S>,
    /// Every subject once, with the end it had when it was queued. It may have been prolonged since; that is found when
    /// its turn comes.
    by_age: VecDeque<(Duration, Arc<str>)>,
    most: usize,
}

impl<S: Ends + Copy> Slots<S> {
    pub(super) fn new(most: usize) -> Self {
        Self { by_subject: HashMap::new(), by_age: VecDeque::new(), most }
    }

    /// What is known of the subject, unless it has ended.
    pub(super) fn get(&self, subject: &str, now: Duration) -> Option<S> {
        self.by_subject.get(subject).copied().filter(|slot| slot.ends() > now)
    }

    /// Remembers this of the subject.
    pub(super) fn put(&mut self, subject: &str, slot: S, now: Duration) {
        if let Some(known) = self.by_subject.get_mut(subject) {
            *known = slot;
            return;
        }
        self.make_room(now);
        let subject: Arc<str> = subject.into();
        self.by_age.push_back((slot.ends(), Arc::clone(&subject)));
        self.by_subject.insert(subject, slot);
    }

    fn make_room(&mut self, now: Duration) {
        for _ in 0..LOOKED_AT {
            let ended = self.by_age.front().is_some_and(|(end, _)| *end <= now);
            if !ended && self.by_subject.len() < self.most {
                return;
            }
            self.drop_front_unless_prolonged();
        }
        while self.by_subject.len() >= self.most {
            let Some((_, subject)) = self.by_age.pop_front() else { return };
            self.by_subject.remove(&subject);
        }
    }

    fn drop_front_unless_prolonged(&mut self) {
        let Some((end, subject)) = self.by_age.pop_front() else { return };
        match self.by_subject.get(&subject).map(Ends::ends) {
            Some(later) if later > end => self.by_age.push_back((later, subject)),
            Some(_) | None => drop(self.by_subject.remove(&subject)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Until(u64);

    impl Ends for Until {
        fn ends(&self) -> Duration {
            Duration::from_secs(self.0)
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_table_never_holds_more_than_its_bound() {
        let mut slots = Slots::new(100);
        for n in 0..10_000 {
            slots.put(&format!("caller {n}"), Until(60), at(0));
            assert!(slots.by_subject.len() <= 100);
            assert_eq!(slots.by_age.len(), slots.by_subject.len());
        }
        assert_eq!(slots.get("caller 9999", at(0)), Some(Until(60)));
        assert_eq!(slots.get("caller 0", at(0)), None);
    }

    #[test]
    fn what_has_ended_leaves_before_what_still_counts() {
        let mut slots = Slots::new(3);
        slots.put("kept", Until(10), at(0));
        slots.put("ended", Until(20), at(0));
        slots.put("kept", Until(90), at(5));
        slots.put("third", Until(30), at(5));

        slots.put("fourth", Until(99), at(25));

        assert_eq!(slots.get("kept", at(25)), Some(Until(90)));
        assert_eq!(slots.get("third", at(25)), Some(Until(30)));
        assert_eq!(slots.get("fourth", at(25)), Some(Until(99)));
        assert!(!slots.by_subject.contains_key("ended"));
    }

    #[test]
    fn after_a_flood_the_table_shrinks_again() {
        let mut slots = Slots::new(1000);
        for n in 0..1000 {
            slots.put(&format!("flood {n}"), Until(60), at(0));
        }
        for n in 0..200 {
            slots.put(&format!("calm {n}"), Until(120), at(61));
        }
        assert_eq!(slots.by_subject.len(), 200);
    }
}
