//! Whose conversations there are, and who is shown them.

use std::time::Duration;

use polylogue::memory::{Listing, ListingQuery, Written};
use polylogue::words::{ConversationKey, Principal, PrincipalHash, Realm, Timestamp};

use super::{Stand, here, said, turn};

fn principal(name: &str) -> Principal {
    format!("key:{name}").parse().unwrap()
}

fn hash(name: &str) -> PrincipalHash {
    PrincipalHash::of(&principal(name))
}

/// What somebody means by this id.
fn of(name: &str, id: &str) -> ConversationKey {
    ConversationKey::of(&principal(name), &id.parse().unwrap())
}

impl Stand {
    /// Somebody says the `n`th thing; the clock goes on, so that there is an order.
    async fn says(&self, name: &str, id: &str, n: u64) {
        let key = of(name, id);
        assert_eq!(self.memory.add(&key, &[said(n)]).await.unwrap(), Written::Written(1), "{key}");
        let now = Timestamp::now().as_millis();
        // The clock of the wall goes on also where the other one is paused.
        while Timestamp::now().as_millis() < now + 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    async fn list(&self, name: &str, query: &ListingQuery) -> Listing {
        let listing = self.memory.list(hash(name), query).await.unwrap();
        assert!(!listing.degraded);
        listing
    }

    /// The ids of somebody's conversations.
    async fn ids(&self, name: &str) -> Vec<String> {
        let listing = self.list(name, &ListingQuery { limit: 100, after: None }).await;
        listing.items.into_iter().map(|item| item.id.to_string()).collect()
    }

    async fn texts_of(&self, name: &str, id: &str) -> Vec<String> {
        let history = self.memory.history(&of(name, id)).await.unwrap().unwrap_or_default();
        history.messages.into_iter().map(|message| message.content).collect()
    }
}

pub async fn two_principals_may_use_the_same_id_and_never_meet(stand: Stand) {
    stand.says("ada", "team-42", 1).await;
    stand.says("bob", "team-42", 2).await;
    stand.add(&[said(3)]).await;

    assert_eq!(stand.texts_of("ada", "team-42").await, ["1"]);
    assert_eq!(stand.texts_of("bob", "team-42").await, ["2"]);
    assert_eq!(stand.texts().await, ["3"], "nobody's");

    assert!(stand.memory.clear(&of("bob", "team-42"), turn(9).user_message()).await.unwrap());
    assert_eq!(stand.texts_of("ada", "team-42").await, ["1"]);
    assert_eq!(stand.texts().await, ["3"]);
    assert!(stand.texts_of("bob", "team-42").await.is_empty());
}

pub async fn a_list_shows_a_principals_own_conversations_the_newest_first(stand: Stand) {
    stand.says("ada", "one", 1).await;
    stand.says("bob", "other", 2).await;
    stand.says("ada", "two", 3).await;
    stand.says("ada", "one", 4).await;
    stand.add(&[said(5)]).await;
    assert_eq!(here().realm(), Realm::Common);

    assert_eq!(stand.ids("ada").await, ["one", "two"]);
    assert_eq!(stand.ids("bob").await, ["other"]);
    assert!(stand.ids("nobody").await.is_empty());

    let item = stand.list("ada", &ListingQuery { limit: 1, after: None }).await.items.remove(0);
    let history = stand.memory.history(&of("ada", "one")).await.unwrap().unwrap();
    assert_eq!((Some(item.created_at), Some(item.updated_at)), (history.created_at, history.updated_at));
    assert_eq!(item.message_count, 2);
}

pub async fn a_list_is_read_page_by_page(stand: Stand) {
    for n in 0..7 {
        stand.says("ada", &format!("c{n}"), n).await;
    }
    let (mut seen, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = stand.list("ada", &ListingQuery { limit: 3, after }).await;
        assert!(page.items.len() <= 3);
        seen.extend(page.items.iter().map(|item| item.id.to_string()));
        (after, pages) = (page.next, pages + 1);
        if after.is_none() {
            break;
        }
    }
    assert_eq!((seen, pages), ((0..7).rev().map(|n| format!("c{n}")).collect(), 3));
}

pub async fn what_was_forgotten_is_not_listed(stand: Stand) {
    for (n, id) in ["a", "b", "c"].into_iter().enumerate() {
        stand.says("ada", id, n as u64).await;
    }
    stand.memory.clear(&of("ada", "b"), turn(9).user_message()).await.unwrap();
    assert_eq!(stand.ids("ada").await, ["c", "a"]);
    stand.says("ada", "b", 10).await;
    assert_eq!(stand.ids("ada").await, ["b", "c", "a"], "it was spoken in again");
}

pub async fn being_read_keeps_a_conversation_listed_and_being_listed_does_not(stand: Stand) {
    stand.says("ada", "read", 1).await;
    stand.says("ada", "listed", 2).await;
    for _ in 0..4 {
        tokio::time::sleep(stand.ttl.mul_f64(0.6)).await;
        assert_eq!(stand.texts_of("ada", "read").await, ["1"]);
        stand.ids("ada").await;
    }
    assert_eq!(stand.ids("ada").await, ["read"]);
    assert!(stand.texts_of("ada", "listed").await.is_empty());
}
