//! The personas that one caller may ask: whatever chooses who answers chooses from these.

use super::personas::{Persona, Personas};
use crate::words::{AllowedPersonas, PersonaId};

/// The personas that exist to one caller.
#[derive(Clone, Copy)]
pub struct Cast<'a> {
    personas: &'a Personas,
    allowed: &'a AllowedPersonas,
}

impl<'a> Cast<'a> {
    /// Those of `personas` that the caller may ask.
    pub fn new(personas: &'a Personas, allowed: &'a AllowedPersonas) -> Self {
        Self { personas, allowed }
    }

    /// All of them, in the order of their file.
    pub fn all(self) -> impl Iterator<Item = &'a Persona> {
        self.personas.all().iter().filter(move |persona| self.allowed.contains(&persona.id))
    }

    /// The one with this id.
    pub fn find(self, id: &PersonaId) -> Option<&'a Persona> {
        self.personas.find(id).filter(|persona| self.allowed.contains(&persona.id))
    }

    /// The one with this id, name or alias, whatever the case.
    pub fn named(self, name: &str) -> Option<&'a Persona> {
        self.personas.named(name).filter(|persona| self.allowed.contains(&persona.id))
    }

    /// Who answers when routing cannot decide: the default persona, or the first of those the caller may ask.
    pub fn default_persona(self) -> Option<&'a Persona> {
        let default = self.personas.default_persona();
        self.find(&default.id).or_else(|| self.all().next())
    }

    /// What a speaker in the transcript is called. Somebody who spoke and may no longer be asked keeps the name.
    pub fn name_of<'b>(self, speaker: &'b PersonaId) -> &'b str
    where
        'a: 'b,
    {
        self.personas.find(speaker).map_or(speaker.as_str(), |persona| &persona.name)
    }

    /// A hash over everything routing reads of all personas; which of them are ours is not in it.
    pub fn fingerprint(self) -> &'a [u8; 32] {
        self.personas.fingerprint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_not_allowed_does_not_exist_and_the_first_allowed_one_stands_in() {
        let personas = Personas::load(None, None).unwrap();
        let id = |text: &str| text.parse::<PersonaId>().unwrap();
        let allowed = AllowedPersonas::only([id("historian"), id("skeptic"), id("nobody")]);
        let cast = Cast::new(&personas, &allowed);
        let ids: Vec<_> = cast.all().map(|persona| persona.id.as_str()).collect();
        assert_eq!(ids, ["skeptic", "historian"]);
        assert!(cast.find(&id("guide")).is_none() && cast.named("Guide").is_none());
        assert!(cast.find(&id("nobody")).is_none());
        assert_eq!(cast.default_persona().unwrap().id, id("skeptic"));
        let nobody = AllowedPersonas::only([id("nobody")]);
        assert!(Cast::new(&personas, &nobody).default_persona().is_none());
    }
}
