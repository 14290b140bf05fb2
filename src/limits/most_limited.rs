//! Who is refused most often, for `/status`: bounded, whoever calls.

use std::time::Duration;

use tokio::time::Instant;

/// Callers that are watched at once.
const MOST: usize = 100;
/// Old refusals count half after this long, so that the list tells of today.
const HALF_LIFE: Duration = Duration::from_secs(600);

/// The callers that were refused most often. Counts are upper bounds: when the list is full, a new caller takes the
/// place and the count of the last one (the Space-Saving algorithm: Metwally, Agrawal, El Abbadi, 2005), so whoever is
/// refused often is on the list, however many others there are.
#[derive(Debug)]
pub(super) struct MostLimited {
    callers: Vec<(String, u64)>,
    halved: Instant,
}

impl MostLimited {
    pub(super) fn new() -> Self {
        Self { callers: Vec::new(), halved: Instant::now() }
    }

    /// Counts one refusal.
    pub(super) fn count(&mut self, caller: String) {
        self.fade();
        if let Some((_, refusals)) = self.callers.iter_mut().find(|(known, _)| *known == caller) {
            *refusals = refusals.saturating_add(1);
        } else if self.callers.len() < MOST {
            self.callers.push((caller, 1));
        } else if let Some(last) = self.callers.iter_mut().min_by_key(|(_, refusals)| *refusals) {
            *last = (caller, last.1.saturating_add(1));
        }
    }

    /// The first `n`, most refusals first.
    pub(super) fn first(&mut self, n: usize) -> Vec<(String, u64)> {
        self.fade();
        let mut callers = self.callers.clone();
        callers.sort_by(|(a, few), (b, many)| many.cmp(few).then_with(|| a.cmp(b)));
        callers.truncate(n);
        callers
    }

    fn fade(&mut self) {
        let half_lives = self.halved.elapsed().as_secs() / HALF_LIFE.as_secs();
        if half_lives == 0 {
            return;
        }
        self.halved = Instant::now();
        let shift = u32::try_from(half_lives).unwrap_or(u32::MAX);
        self.callers.retain_mut(|(_, refusals)| {
            *refusals = refusals.checked_shr(shift).unwrap_or(0);
            *refusals > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_is_refused_often_is_on_the_list_however_many_others_there_are() {
        let mut most = MostLimited::new();
        for n in 0..5000 {
            most.count(format!("passer-by {n}"));
            most.count("greedy".into());
        }
        assert_eq!(most.first(1)[0].0, "greedy");
        assert!(most.callers.len() <= MOST);
    }

    #[tokio::test(start_paused = true)]
    async fn old_refusals_fade() {
        let mut most = MostLimited::new();
        (0..8).for_each(|_| most.count("once".into()));

        tokio::time::advance(HALF_LIFE).await;
        assert_eq!(most.first(10), [("once".to_owned(), 4)]);

        tokio::time::advance(HALF_LIFE * 3).await;
        assert!(most.first(10).is_empty());
    }
}
