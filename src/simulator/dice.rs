//! Chance that repeats itself: the same on every machine and in every version.

/// A SplitMix64 generator (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// Dice that fall the same way for the same seed and texts.
    pub(super) fn new<'a>(seed: u64, texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut dice = Self(seed);
        let start = dice.roll();
        Self(texts.into_iter().fold(start, fnv1a))
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 where there is none.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % (bound.max(1) as u64)).unwrap_or_default()
    }

    /// One of `choices`, which has at least one.
    pub(super) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// True in `share` of all throws.
    pub(super) fn chance(&mut self, share: f64) -> bool {
        (self.below(1 << 32) as f64) < share * (1_u64 << 32) as f64
    }
}

/// FNV-1a over a text and its end, so that "ab", "c" differs from "a", "bc".
fn fnv1a(hash: u64, text: &str) -> u64 {
    let bytes = text.bytes().chain([0xFF]);
    bytes.fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_texts_fall_the_same_way_and_others_differ() {
        let fall = |seed, texts: &[&str]| Dice::new(seed, texts.iter().copied()).below(1_000_000);
        assert_eq!(fall(1, &["ab", "c"]), fall(1, &["ab", "c"]));
        assert_ne!(fall(1, &["ab", "c"]), fall(2, &["ab", "c"]));
        assert_ne!(fall(1, &["ab", "c"]), fall(1, &["a", "bc"]));
    }

    #[test]
    fn a_share_of_chances_comes_true() {
        let mut dice = Dice::new(7, []);
        let hits = (0..10_000).filter(|_| dice.chance(0.2)).count();
        assert!((1_800..2_200).contains(&hits), "{hits}");
        assert!(!dice.chance(0.0));
        assert!(dice.chance(1.0));
    }
}
