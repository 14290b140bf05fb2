//! Which conversations somebody has.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::History;
use crate::words::{ConversationId, Invalid, Timestamp};

/// What a list says of one conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct ListingItem {
    /// What its owner calls it.
    pub id: ConversationId,
    /// When its first message was kept.
    pub created_at: Timestamp,
    /// When its newest was.
    pub updated_at: Timestamp,
    /// How many messages are kept.
    pub message_count: usize,
}

impl ListingItem {
    /// What a list says of this conversation.
    pub fn of(id: ConversationId, history: &History) -> Self {
        let (created_at, updated_at) = (history.created(), history.updated());
        Self { id, created_at, updated_at, message_count: history.messages.len() }
    }

    /// Where it stands.
    pub fn place(&self) -> ListingPlace {
        ListingPlace { updated_at: self.updated_at, id: self.id.clone() }
    }
}

/// A place in a list, which begins with the conversation that was spoken in last. Opaque to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListingPlace {
    /// When the conversation at this place was spoken in.
    pub updated_at: Timestamp,
    /// Which one it is.
    pub id: ConversationId,
}

impl ListingPlace {
    /// Sorts as the list does; of two that were spoken in at the same moment the order only has to be always the same.
    fn rank(&self) -> (std::cmp::Reverse<u64>, &ConversationId) {
        (std::cmp::Reverse(self.updated_at.as_millis()), &self.id)
    }

    /// Whether it comes behind `other`.
    pub fn is_behind(&self, other: &Self) -> bool {
        self.rank() > other.rank()
    }

    /// Puts places in the order of the list.
    pub fn sort<T>(all: &mut [T], place: impl Fn(&T) -> &Self) {
        all.sort_by(|one, other| place(one).rank().cmp(&place(other).rank()));
    }
}

impl fmt::Display for ListingPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.updated_at.as_millis(), self.id)
    }
}

impl Serialize for ListingPlace {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for ListingPlace {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = Invalid("must be a place in a list");
        let (moment, id) = text.split_once('.').ok_or(invalid)?;
        let updated_at = Timestamp::from_millis(moment.parse().map_err(|_| invalid)?);
        let place = Self { updated_at, id: id.parse()? };
        // The one canonical spelling.
        (place.to_string() == text).then_some(place).ok_or(invalid)
    }
}

/// Which part of a list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListingQuery {
    /// At most so many (1 to 100).
    pub limit: usize,
    /// Only what comes behind this place.
    pub after: Option<ListingPlace>,
}

impl ListingQuery {
    /// Whether this place is in the part that is wanted.
    pub fn wants(&self, place: &ListingPlace) -> bool {
        self.after.as_ref().is_none_or(|after| place.is_behind(after))
    }
}

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// The conversation that was spoken in last comes first.
    pub items: Vec<ListingItem>,
    /// Where the next part begins, if there is more.
    pub next: Option<ListingPlace>,
    /// Whether only what this replica knows could be listed.
    pub degraded: bool,
}

impl Listing {
    /// The part of `all` that is wanted.
    pub fn part(all: impl IntoIterator<Item = ListingItem>, query: &ListingQuery) -> Self {
        let placed = all.into_iter().map(|item| (item.place(), item));
        let mut placed: Vec<_> = placed.filter(|(place, _)| query.wants(place)).collect();
        ListingPlace::sort(&mut placed, |(place, _)| place);
        Self::cut(placed, query)
    }

    /// The first of what is in order already, together with where it stood.
    pub fn cut(mut placed: Vec<(ListingPlace, ListingItem)>, query: &ListingQuery) -> Self {
        let is_more = placed.len() > query.limit;
        placed.truncate(query.limit);
        let next = placed.last().filter(|_| is_more).map(|(place, _)| place.clone());
        Self { items: placed.into_iter().map(|(_, item)| item).collect(), next, degraded: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item((id, ms): (&str, u64)) -> ListingItem {
        let updated_at = Timestamp::from_millis(ms);
        ListingItem { id: id.parse().unwrap(), created_at: updated_at, updated_at, message_count: 1 }
    }

    #[test]
    fn pages_walk_through_the_whole_list_also_through_what_happened_at_the_same_moment() {
        let all = [("a", 1), ("b", 3), ("c", 2), ("d", 2), ("e", 2)].map(item);
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let part = Listing::part(all.clone(), &ListingQuery { limit: 2, after });
            seen.extend(part.items.iter().map(|item| item.id.to_string()));
            after = part.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, ["b", "c", "d", "e", "a"]);
    }

    #[test]
    fn a_place_survives_its_text_form_and_has_one_only() {
        let place = item(("team-42", 1_795_460_442_000)).place();
        assert_eq!(place.to_string().parse::<ListingPlace>().unwrap(), place);
        for wrong in ["", "1", "1.", ".a", "01.a", "+1.a", "1.a.b", "-1.a", "99999999999999999999.a"] {
            assert!(wrong.parse::<ListingPlace>().is_err(), "{wrong}");
        }
    }
}
