//! Which variant a caller gets, and the same one every time.

/// What a flag says: a value for everyone, or shares of all callers with a value each.
#[derive(Debug)]
pub(super) struct Rule<V> {
    /// For those the shares leave out; none is the program's own default.
    pub(super) default: Option<V>,
    pub(super) shares: Option<Shares<V>>,
}

impl<V> Default for Rule<V> {
    fn default() -> Self {
        Self { default: None, shares: None }
    }
}

impl<V: Copy> Rule<V> {
    /// The value for a caller; none means the program's own default.
    pub(super) fn value(&self, flag: &str, caller: &str) -> Option<V> {
        self.shares.as_ref().map_or(self.default, |shares| Some(shares.value(flag, caller)))
    }
}

/// Values with their weights; at least one weight is above zero.
#[derive(Debug)]
pub(super) struct Shares<V> {
    pub(super) by: BucketBy,
    first: V,
    /// Each value with the sum of the weights up to and with its own.
    up_to: Vec<(V, u32)>,
    total: u32,
}

/// What a caller's place among all callers depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BucketBy {
    /// Flag and caller, flagd's default: who is in the first tenth of one flag need not be in that of another.
    FlagAndCaller,
    /// The caller alone: the same callers come first in every flag.
    Caller,
}

impl<V: Copy> Shares<V> {
    /// None if all weights are zero, or together more than 32 bits hold.
    pub(super) fn new(by: BucketBy, weights: Vec<(V, u32)>) -> Option<Self> {
        let first = weights.first()?.0;
        let mut total = 0_u32;
        let mut up_to = Vec::with_capacity(weights.len());
        for (value, weight) in weights {
            total = total.checked_add(weight)?;
            up_to.push((value, total));
        }
        (total > 0).then_some(Self { by, first, up_to, total })
    }

    fn value(&self, flag: &str, caller: &str) -> V {
        let hash = match self.by {
            BucketBy::FlagAndCaller => murmur3_32(format!("{flag}{caller}").as_bytes()),
            BucketBy::Caller => murmur3_32(caller.as_bytes()),
        };
        // Spreads 32 bits evenly over the weights: below `total`, so the last share catches everything left.
        let place = (u64::from(hash) * u64::from(self.total)) >> 32;
        let found = self.up_to.iter().find(|(_, up_to)| place < u64::from(*up_to));
        found.map_or(self.first, |(value, _)| *value)
    }
}

/// MurmurHash3 for 32 bits with seed 0 (Austin Appleby, public domain): what flagd distributes callers by.
fn murmur3_32(bytes: &[u8]) -> u32 {
    let scrambled = |word: u32| word.wrapping_mul(0xCC9E_2D51).rotate_left(15).wrapping_mul(0x1B87_3593);
    let (words, rest) = bytes.as_chunks::<4>();

    let mut hash = words.iter().fold(0_u32, |hash, word| {
        let mixed = hash ^ scrambled(u32::from_le_bytes(*word));
        mixed.rotate_left(13).wrapping_mul(5).wrapping_add(0xE654_6B64)
    });
    let rest = rest.iter().rev().fold(0_u32, |word, byte| (word << 8) | u32::from(*byte));
    hash ^= scrambled(rest);

    // The length's low 32 bits, as the algorithm has it.
    hash ^= bytes.len() as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85EB_CA6B);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xC2B2_AE35);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_hash_is_murmur3() {
        let known = [
            ("", 0),
            ("test", 0xBA6B_D213),
            ("Hello, world!", 0xC036_3E43),
            ("The quick brown fox jumps over the lazy dog", 0x2E4F_F723),
        ];
        for (text, hash) in known {
            assert_eq!(murmur3_32(text.as_bytes()), hash, "{text}");
        }
    }

    fn on_off(on: u32, off: u32) -> Shares<bool> {
        Shares::new(BucketBy::FlagAndCaller, vec![(true, on), (false, off)]).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]

        #[test]
        fn a_share_of_all_callers_gets_its_value(on in 0_u32..=100, who in "[a-z]{1,8}", flag in "[a-z_]{1,16}") {
            let shares = on_off(on, 100 - on);
            let callers = 4_000;
            let lucky = (0..callers).filter(|n| shares.value(&flag, &format!("{who}:{n}"))).count();
            let share = lucky as f64 * 100.0 / f64::from(callers);
            prop_assert!((share - f64::from(on)).abs() < 5.0, "{share} % instead of {on} %");
        }

        #[test]
        fn a_caller_keeps_its_value_while_the_share_grows(on in 0_u32..=100, caller in ".{0,40}") {
            let now = on_off(on, 100 - on).value("routing", &caller);
            prop_assert_eq!(now, on_off(on, 100 - on).value("routing", &caller));
            let later = on_off(100.min(on + 10), 90_u32.saturating_sub(on)).value("routing", &caller);
            prop_assert!(!now || later);
        }
    }

    #[test]
    fn weights_need_not_add_up_to_a_hundred_but_to_something() {
        let thirds = Shares::new(BucketBy::Caller, vec![(1, 1), (2, 1), (3, 1)]).unwrap();
        let seen: std::collections::BTreeSet<_> =
            (0..50).map(|n| thirds.value("f", &n.to_string())).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
        assert!(Shares::new(BucketBy::Caller, vec![(1, 0)]).is_none());
        assert!(Shares::new(BucketBy::Caller, vec![(1, u32::MAX), (2, 1)]).is_none());
    }

    #[test]
    fn a_caller_is_placed_apart_in_every_flag_unless_placed_by_caller_alone() {
        let apart = on_off(50, 50);
        let alike = Shares::new(BucketBy::Caller, vec![(true, 50), (false, 50)]).unwrap();
        let differs = |shares: &Shares<bool>| {
            (0..100).any(|n| shares.value("one", &n.to_string()) != shares.value("two", &n.to_string()))
        };
        assert!(differs(&apart) && !differs(&alike));
    }
}
