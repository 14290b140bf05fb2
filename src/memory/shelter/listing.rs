//! Going through a list. What stands in it is a hint: the conversations themselves decide.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tracing::debug;

use super::shared::{Failed, SharedMemory};
use crate::memory::{Listing, ListingItem, ListingPlace, ListingQuery};
use crate::telemetry::Chain;
use crate::words::{ConversationId, ConversationKey, PrincipalHash, Realm};

/// Conversations that are looked at side by side: enough to fill a connection, and callers get between.
const AT_ONCE: usize = 16;

/// What this replica knows that others do not know yet.
#[derive(Debug, Default)]
pub(in crate::memory) struct Unshared {
    /// Spoken in here.
    pub(super) said: BTreeMap<ConversationId, ListingItem>,
    /// Forgotten here.
    pub(super) forgotten: BTreeSet<ConversationId>,
}

/// One principal's conversations.
pub(in crate::memory) struct Walk<'a, S> {
    pub(in crate::memory) shared: &'a S,
    pub(in crate::memory) of: PrincipalHash,
    pub(in crate::memory) unshared: Unshared,
}

impl<'a, S: SharedMemory> Walk<'a, S> {
    pub(in crate::memory) fn new(shared: &'a S, of: PrincipalHash) -> Self {
        Self { shared, of, unshared: Unshared::default() }
    }

    /// The part of the list that is wanted.
    pub(in crate::memory) async fn part(&self, query: &ListingQuery) -> Result<Listing, Failed> {
        let places = self.places(query).await?;
        let (mut found, mut gone) = (Vec::new(), Vec::new());
        let mut rest = places.as_slice();
        // One more than is wanted tells whether there is more.
        while found.len() <= query.limit && !rest.is_empty() {
            let (next, others) = rest.split_at(rest.len().min(query.limit + 1 - found.len()));
            rest = others;
            for (place, item) in self.look(next).await? {
                match item {
                    Some(item) => found.push((place, item)),
                    None => gone.push(place),
                }
            }
        }
        self.mend(&gone, &found).await;
        Ok(Listing::cut(found, query))
    }

    /// Everything that may be in the part that is wanted, in order.
    async fn places(&self, query: &ListingQuery) -> Result<Vec<ListingPlace>, Failed> {
        let mut places: BTreeMap<_, _> = self
            .shared
            .listed(self.of)
            .await?
            .into_iter()
            .map(|place| (place.id, place.updated_at))
            .collect();
        for item in self.unshared.said.values() {
            let updated_at = places.entry(item.id.clone()).or_insert(item.updated_at);
            *updated_at = item.updated_at.max(*updated_at);
        }
        places.retain(|id, _| !self.unshared.forgotten.contains(id));
        let places = places.into_iter().map(|(id, updated_at)| ListingPlace { updated_at, id });
        let mut places: Vec<_> = places.filter(|place| query.wants(place)).collect();
        ListingPlace::sort(&mut places, |place| place);
        Ok(places)
    }

    /// What is at these places.
    async fn look(
        &self,
        places: &[ListingPlace],
    ) -> Result<Vec<(ListingPlace, Option<ListingItem>)>, Failed> {
        let looks: Vec<_> = places.iter().map(|place| self.look_at(place)).collect();
        stream::iter(looks).buffered(AT_ONCE).try_collect().await
    }

    async fn look_at(&self, place: &ListingPlace) -> Result<(ListingPlace, Option<ListingItem>), Failed> {
        let shared = self.shared.peek(&self.key(&place.id)).await?;
        let own = self.unshared.said.get(&place.id);
        let item = match (shared, own) {
            (Some(shared), Some(own)) => Some(ListingItem {
                created_at: shared.created_at.min(own.created_at),
                updated_at: shared.updated_at.max(own.updated_at),
                message_count: shared.message_count.max(own.message_count),
                ..shared
            }),
            (shared, own) => shared.or_else(|| own.cloned()),
        };
        Ok((place.clone(), item))
    }

    /// Brings the list nearer to what there is. One that stays wrong only costs looks.
    async fn mend(&self, gone: &[ListingPlace], found: &[(ListingPlace, ListingItem)]) {
        let mending = async {
            if !gone.is_empty() {
                self.shared.strike(self.of, gone).await?;
            }
            for (_, item) in found.iter().filter(|(place, item)| item.updated_at > place.updated_at) {
                self.shared.enlist(&self.key(&item.id), item.updated_at).await?;
            }
            Ok::<_, Failed>(())
        };
        if let Err(failed) = mending.await {
            debug!(error = %Chain(&failed), "a list of conversations stays wrong");
        }
    }

    fn key(&self, id: &ConversationId) -> ConversationKey {
        ConversationKey::new(Realm::Own(self.of), id.clone())
    }
}
