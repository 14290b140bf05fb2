//! What is asked.

use rand::Rng as _;
use rand::rngs::SmallRng;

const WORDS: [&str; 16] = [
    "was", "the", "city", "older", "than", "its", "walls", "and", "who", "said", "so", "first", "in",
    "which", "letter", "really",
];

/// A question of so many bytes (ASCII, so characters too), unlike most others.
pub fn question(bytes: usize, dice: &mut SmallRng) -> String {
    let mut text = format!("{:x}", dice.random::<u32>());
    while text.len() < bytes {
        text.push(' ');
        text.push_str(WORDS[dice.random_range(0..WORDS.len())]);
    }
    text.truncate(bytes.max(1));
    // A last space would be trimmed by whoever reads it, and the length would differ.
    if text.ends_with(' ') {
        text.pop();
        text.push('?');
    }
    text
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn a_question_has_the_length_that_was_asked_for_and_is_unlike_the_next() {
        let mut dice = SmallRng::seed_from_u64(7);
        for bytes in [1, 8, 100, 32_768] {
            let text = question(bytes, &mut dice);
            assert_eq!(text.len(), bytes);
            assert_eq!(text.trim(), text);
        }
        assert_ne!(question(100, &mut dice), question(100, &mut dice));
    }
}
