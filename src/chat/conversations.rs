//! What was said, for those who want to read, add to or forget it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::turns::CANCEL_WAIT;
use super::{AddMessage, Caller, Chat, ChatError, ConversationView, MessageOrder, MessagePage, PageQuery};
use crate::memory::{Listing, ListingQuery};
use crate::words::{
    CancelReason, ConversationId, ConversationKey, Message, MessageId, Realm, Timestamp, TurnId, TurnStatus,
    new_ulid,
};

impl Chat {
    /// What a page needs after a reload.
    pub async fn conversation(
        &self,
        caller: &Caller,
        id: &ConversationId,
    ) -> Result<ConversationView, ChatError> {
        let key = caller.conversation(id);
        let active_turn_id = self.running(&key).await;
        let history = self.memory.history(&key).await?.ok_or(ChatError::ConversationNotFound)?;
        Ok(ConversationView {
            id: id.clone(),
            created_at: history.created(),
            updated_at: history.updated(),
            message_count: history.messages.len(),
            active_turn_id,
        })
    }

    /// The caller's own conversations, the one that was spoken in last first. Who did not say who they are owns none.
    pub async fn conversations(&self, caller: &Caller, query: &ListingQuery) -> Result<Listing, ChatError> {
        match caller.realm() {
            Realm::Own(of) => Ok(self.memory.list(of, query).await?),
            Realm::Common => Ok(Listing::default()),
        }
    }

    /// A page of the conversation's messages.
    pub async fn messages(
        &self,
        caller: &Caller,
        id: &ConversationId,
        page: PageQuery,
    ) -> Result<MessagePage, ChatError> {
        let history =
            self.memory.history(&caller.conversation(id)).await?.ok_or(ChatError::ConversationNotFound)?;
        Ok(page_of(history.messages, page))
    }

    /// Adds a message without asking for answers; refused while a turn runs.
    pub async fn add_message(
        &self,
        caller: &Caller,
        id: &ConversationId,
        message: AddMessage,
    ) -> Result<Message, ChatError> {
        let key = &caller.conversation(id);
        if let Some(turn) = self.running(key).await {
            return Err(ChatError::TurnInProgress(turn));
        }
        let newest =
            self.memory.history(key).await?.and_then(|history| history.messages.last().map(|said| said.id));
        let added = Message {
            id: MessageId(above(newest, self.log.now())),
            role: message.role,
            persona: message.persona,
            content: message.content,
            created_at: Timestamp::now(),
            cancelled: false,
        };
        self.memory.add(key, std::slice::from_ref(&added)).await?;
        Ok(added)
    }

    /// Forgets the conversation for good and cancels its running turn; also when there was none.
    pub async fn forget(self: &Arc<Self>, caller: &Caller, id: &ConversationId) -> Result<(), ChatError> {
        let (chat, key) = (Arc::clone(self), caller.conversation(id));
        self.to_its_end(async move { chat.forget_now(&key).await }).await
    }

    async fn forget_now(&self, key: &ConversationKey) -> Result<(), ChatError> {
        if let Some(turn) = self.running(key).await {
            self.end_and_wait(turn, CancelReason::Deleted, CANCEL_WAIT).await?;
        }
        // What cannot be read now is below the mark all the same: the mark is of this moment.
        let history = self.memory.history(key).await.ok().flatten();
        let newest = history.and_then(|history| history.messages.last().map(|said| said.id));
        let mark = above(newest, self.log.now());
        self.memory.clear(key, MessageId(mark)).await?;
        // What is said next is made by the clock, and only what is above the mark is remembered.
        let ahead = (mark.timestamp_ms() + 1).saturating_sub(self.log.now().as_millis());
        sleep(Duration::from_millis(ahead).min(CANCEL_WAIT)).await;
        Ok(())
    }

    /// The turn the conversation is answering; while the log cannot be asked, the one it is answering here.
    pub(super) async fn running(&self, key: &ConversationKey) -> Option<TurnId> {
        match self.log.current(key).await {
            Ok(newest) => newest.and_then(|(turn, status)| (status == TurnStatus::Running).then_some(turn)),
            Err(_) => self.live.running_in(key),
        }
    }
}

/// An id of this moment that sorts above `newest`, whatever the clock says.
pub(super) fn above(newest: Option<MessageId>, now: Timestamp) -> ulid::Ulid {
    let now = now.as_millis();
    new_ulid(newest.map_or(now, |newest| now.max(newest.0.timestamp_ms() + 1)))
}

/// The part of `messages` (oldest first) that the caller asked for. With `after` the page begins behind that message,
/// with `before` it ends ahead of it, without either it begins at the end that `order` begins with.
fn page_of(messages: Vec<Message>, query: PageQuery) -> MessagePage {
    let inside = |message: &Message| {
        query.after.is_none_or(|after| message.id > after)
            && query.before.is_none_or(|before| message.id < before)
    };
    let mut data: Vec<_> = messages.into_iter().filter(inside).collect();
    let has_more = data.len() > query.limit;
    match query.order {
        MessageOrder::Ascending => data.truncate(query.limit),
        MessageOrder::Descending => {
            data.reverse();
            data.truncate(query.limit);
        }
    }
    MessagePage { data, has_more }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Role;

    fn messages(n: u64) -> Vec<Message> {
        let message = |ms| Message {
            id: MessageId(new_ulid(ms)),
            role: Role::User,
            persona: None,
            content: ms.to_string(),
            created_at: Timestamp::from_millis(ms),
            cancelled: false,
        };
        (1..=n).map(message).collect()
    }

    fn read(all: &[Message], query: PageQuery) -> (Vec<String>, bool) {
        let page = page_of(all.to_vec(), query);
        (page.data.into_iter().map(|message| message.content).collect(), page.has_more)
    }

    #[test]
    fn pages_walk_through_all_messages_in_both_orders() {
        let all = messages(5);
        let query = PageQuery { limit: 2, before: None, after: None, order: MessageOrder::Ascending };
        assert_eq!(read(&all, query), (vec!["1".into(), "2".into()], true));
        assert_eq!(read(&all, PageQuery { after: Some(all[3].id), ..query }), (vec!["5".into()], false));
        let newest = PageQuery { order: MessageOrder::Descending, ..query };
        assert_eq!(read(&all, newest), (vec!["5".into(), "4".into()], true));
        assert_eq!(read(&all, PageQuery { before: Some(all[1].id), ..newest }), (vec!["1".into()], false));
    }
}
