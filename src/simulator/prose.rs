//! Plausible sentences about nothing in particular, token by token.

use super::dice::Dice;

const OPENERS: &[&str] =
    &["Often", "Usually", "In practice", "At first", "Over time", "Sometimes", "Mostly", "By then"];
const DETERMINERS: &[&str] = &["the", "every", "one", "another", "this", "each"];
const QUALITIES: &[&str] = &[
    "quiet", "small", "early", "careful", "plain", "patient", "distant", "common", "familiar", "narrow",
    "honest", "bright", "steady", "gentle", "simple", "open",
];
const THINGS: &[&str] = &[
    "answer", "harbour", "question", "garden", "record", "pattern", "letter", "bridge", "example", "season",
    "story", "detail", "village", "balance", "river", "method", "voice", "habit", "window", "journey",
];
const DEEDS: &[&str] = &[
    "follows", "explains", "changes", "keeps", "carries", "shows", "leaves", "needs", "meets", "shapes",
    "repeats", "holds", "opens", "answers",
];
const LINKS: &[&str] = &["near", "before", "without", "beyond", "under", "after", "behind", "within"];

/// `count` tokens, words with the space before them, that read as whole sentences and end with a full stop.
pub(super) fn tokens(count: usize, dice: &mut Dice) -> Vec<String> {
    let mut tokens = Vec::with_capacity(count + 12);
    while tokens.len() < count {
        tokens.extend(sentence(dice, tokens.is_empty()));
    }
    tokens.truncate(count);
    finish(&mut tokens, dice);
    tokens
}

/// Makes the end an end: no sentence stops after "every".
fn finish(tokens: &mut [String], dice: &mut Dice) {
    if let Some(last) = tokens.last_mut()
        && !last.ends_with('.')
    {
        last.truncate(last.trim_end_matches(',').len());
        if [DETERMINERS, QUALITIES, LINKS].iter().any(|words| words.contains(&last.trim_start())) {
            *last = format!(" {}", dice.one_of(THINGS));
        }
        last.push('.');
    }
}

fn sentence(dice: &mut Dice, first: bool) -> Vec<String> {
    let mut words: Vec<String> = Vec::with_capacity(12);
    if dice.chance(0.3) {
        words.extend(dice.one_of(OPENERS).split(' ').map(str::to_owned));
        if let Some(last) = words.last_mut() {
            last.push(',');
        }
    }
    noun(dice, &mut words);
    words.push(dice.one_of(DEEDS).to_owned());
    noun(dice, &mut words);
    if dice.chance(0.5) {
        words.push(dice.one_of(LINKS).to_owned());
        noun(dice, &mut words);
    }
    if let Some(opening) = words.first_mut() {
        *opening = capitalised(opening);
    }
    if let Some(last) = words.last_mut() {
        last.push('.');
    }
    words
        .into_iter()
        .enumerate()
        .map(|(at, word)| if first && at == 0 { word } else { format!(" {word}") })
        .collect()
}

fn noun(dice: &mut Dice, words: &mut Vec<String>) {
    words.push(dice.one_of(DETERMINERS).to_owned());
    if dice.chance(0.4) {
        words.push(dice.one_of(QUALITIES).to_owned());
    }
    words.push(dice.one_of(THINGS).to_owned());
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_exactly_as_many_tokens_as_asked_for_and_ends_a_sentence() {
        for count in [1, 2, 16, 40, 333] {
            let tokens = tokens(count, &mut Dice::new(3, ["hello"]));
            let text = tokens.concat();
            assert_eq!(tokens.len(), count);
            assert!(text.ends_with('.') && !text.ends_with(",."), "{text}");
            assert!(text.starts_with(|c: char| c.is_uppercase()), "{text}");
            assert!(!text.contains("  "), "{text}");
        }
    }
}
