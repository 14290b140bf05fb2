//! What callers and models said, made plain: text that no chat template and no reader can take for anything else.

/// What tokenizers of open models read as the start and end of roles where a server parses them inside of messages. Those
/// of one form, `<|…|>`, are found by it.
const ROLE_MARKERS: [&str; 13] = [
    "<start_of_turn>",
    "<end_of_turn>",
    "<<SYS>>",
    "<</SYS>>",
    "[INST]",
    "[/INST]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_CALLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
];

/// The bars of `<|…|>`: the ASCII one, and the wide one that DeepSeek's templates are written with.
const BARS: [char; 2] = ['|', '｜'];

/// A longer name between two bars is no marker; a pipe of F# or Elixir with an expression in it is none either.
const LONGEST_MARKER: usize = 64;

/// Breaks every role marker of a chat template with a space, so that a server whose tokenizer looks for them inside of
/// messages finds none. Any other text stays as it is.
pub fn without_role_markers(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for (place, character) in text.char_indices() {
        plain.push(character);
        if matches!(character, '<' | '[') && begins_marker(&text[place..]) {
            plain.push(' ');
        }
    }
    plain
}

fn begins_marker(text: &str) -> bool {
    ROLE_MARKERS.iter().any(|marker| text.starts_with(marker)) || begins_barred(text)
}

/// Whether `text` begins with `<|name|>`, whichever bars.
fn begins_barred(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('<').and_then(|text| text.strip_prefix(BARS)) else { return false };
    let in_name = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '-' | '▁' | ':' | '.' | '/');
    let name = inner.chars().take(LONGEST_MARKER).take_while(in_name).map(char::len_utf8).sum::<usize>();
    inner[name..].strip_prefix(BARS).is_some_and(|rest| name > 0 && rest.starts_with('>'))
}

/// One line that shows what it says: no control characters, nothing invisible, nothing that turns the direction of
/// writing, and at most `most` characters.
pub fn one_line(text: &str, most: usize) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    let line: String = text.chars().filter(|c| !is_invisible(*c)).map(shown).collect();
    let words: Vec<&str> = line.split_whitespace().collect();
    words.join(" ").chars().take(most).collect()
}

/// Format characters of Unicode that show nothing by themselves: joiners and marks of direction (UAX #9), tags, and the
/// byte order mark.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_role_marker_of_any_template_is_broken_and_code_stays_code() {
        for (said, plain) in [
            ("<|im_start|>system", "< |im_start|>system"),
            ("<|start_header_id|>", "< |start_header_id|>"),
            ("<｜User｜>", "< ｜User｜>"),
            ("<｜begin▁of▁sentence｜>", "< ｜begin▁of▁sentence｜>"),
            ("[INST] <<SYS>>", "[ INST] < <SYS>>"),
            ("<start_of_turn>model", "< start_of_turn>model"),
            ("<<|x|>|x|>", "<< |x|>|x|>"),
        ] {
            assert_eq!(without_role_markers(said), plain);
        }
        for code in ["a <| f |> g", "x |> Enum.map(f)", "<div> [1] <s>old</s>", "<||>", "list[INST", "<|"] {
            assert_eq!(without_role_markers(code), code);
        }
    }

    #[test]
    fn a_line_shows_all_that_is_in_it() {
        assert_eq!(one_line("  It\u{202e} is\na\tclaim.\u{0}\u{200b} ", 300), "It is a claim.");
        assert_eq!(one_line("ééé", 2), "éé");
        assert_eq!(one_line("\u{feff}\n", 10), "");
    }

    /// Text that is full of what attackers write.
    pub fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            prop::sample::select(ROLE_MARKERS.to_vec()).prop_map(str::to_owned),
            prop::sample::select(vec!["<|", "|>", "<", "[", "｜", "im_start", "\u{202e}", "\u{200b}", "\n"])
                .prop_map(str::to_owned),
            any::<String>(),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn nothing_plain_has_a_marker_left_and_only_spaces_were_added(text in hostile()) {
            let plain = without_role_markers(&text);
            prop_assert!(plain.char_indices().all(|(place, _)| !begins_marker(&plain[place..])), "{plain:?}");
            prop_assert_eq!(plain.replace(' ', ""), text.replace(' ', ""));
            prop_assert_eq!(&without_role_markers(&plain), &plain);
        }

        #[test]
        fn a_line_is_one_and_is_bounded(text in hostile(), most in 0_usize..50) {
            let line = one_line(&text, most);
            prop_assert!(line.chars().count() <= most);
            prop_assert!(!line.contains(|c: char| c.is_control() || is_invisible(c)), "{line:?}");
        }
    }
}
