//! `@name` in a message.

use super::cast::Cast;
use super::personas::Persona;

/// The personas a message names with `@`, each once, in order. An `@` inside a word (an e-mail address) names nobody.
pub fn mentioned<'a>(message: &str, cast: Cast<'a>) -> Vec<&'a Persona> {
    let mut found: Vec<&Persona> = Vec::new();
    let mut before = None;
    for (place, character) in message.char_indices() {
        let starts_a_word =
            before.is_none_or(|c: char| !c.is_alphanumeric() && !matches!(c, '.' | '_' | '-' | '@'));
        before = Some(character);
        if character != '@' || !starts_a_word {
            continue;
        }
        let rest = &message[place + 1..];
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).unwrap_or(rest.len());
        let persona = cast.named(rest[..end].trim_end_matches(['-', '_']));
        if let Some(persona) = persona.filter(|persona| !found.iter().any(|other| other.id == persona.id)) {
            found.push(persona);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::personas::Personas;
    use crate::words::AllowedPersonas;

    fn ids(message: &str) -> Vec<String> {
        let personas = Personas::load(None, None).unwrap();
        let allowed = AllowedPersonas::only(["guide", "skeptic", "historian"].map(|id| id.parse().unwrap()));
        mentioned(message, Cast::new(&personas, &allowed))
            .iter()
            .map(|persona| persona.id.to_string())
            .collect()
    }

    #[test]
    fn every_named_persona_answers_once_in_order() {
        assert_eq!(ids("@historian @skeptic was Troy real? @Historian?"), ["historian", "skeptic"]);
        assert_eq!(ids("(@critic), what now - @GUIDE!"), ["skeptic", "guide"]);
    }

    #[test]
    fn a_persona_the_caller_may_not_ask_is_a_stranger() {
        let personas = Personas::load(None, None).unwrap();
        let allowed = AllowedPersonas::only(["guide".parse().unwrap()]);
        let named = mentioned("@skeptic @guide", Cast::new(&personas, &allowed));
        assert_eq!(named.iter().map(|persona| persona.id.as_str()).collect::<Vec<_>>(), ["guide"]);
    }

    #[test]
    fn an_address_or_a_stranger_names_nobody() {
        for message in ["mail me at bob@guide.example", "@nobody", "@", "a@@guide", "guide"] {
            assert!(ids(message).is_empty(), "{message}");
        }
    }
}
