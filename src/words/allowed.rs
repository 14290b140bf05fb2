//! Which personas a caller may ask.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::PersonaId;

/// Which personas a caller may ask: all, unless somebody said which. Any other persona does not exist to the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AllowedPersonas(Option<Arc<BTreeSet<PersonaId>>>);

impl AllowedPersonas {
    /// Every persona there is.
    pub fn all() -> Self {
        Self::default()
    }

    /// These, and no other; none at all if there is none among them.
    pub fn only(ids: impl IntoIterator<Item = PersonaId>) -> Self {
        Self(Some(Arc::new(ids.into_iter().collect())))
    }

    /// Whether the caller may ask every persona there is.
    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// Whether the caller may ask this one.
    pub fn contains(&self, id: &PersonaId) -> bool {
        self.0.as_ref().is_none_or(|ids| ids.contains(id))
    }
}

/// None says nothing of personas.
impl From<Option<Arc<BTreeSet<PersonaId>>>> for AllowedPersonas {
    fn from(ids: Option<Arc<BTreeSet<PersonaId>>>) -> Self {
        Self(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_ones_are_allowed_and_all_where_nobody_named_any() {
        let id = |text: &str| text.parse::<PersonaId>().unwrap();
        let some = AllowedPersonas::only([id("guide")]);
        assert!(some.contains(&id("guide")) && !some.contains(&id("skeptic")));
        assert!(!AllowedPersonas::only([]).contains(&id("guide")));
        assert!(AllowedPersonas::all().contains(&id("skeptic")));
        let kept = serde_json::to_string(&some).unwrap();
        assert_eq!(serde_json::from_str::<AllowedPersonas>(&kept).unwrap(), some);
        assert_eq!(serde_json::to_string(&AllowedPersonas::all()).unwrap(), "null");
    }
}
