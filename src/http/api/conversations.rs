//! What was said.

use std::str::FromStr;

use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, OpenApi};
use serde::Serialize;

use super::Tag;
use super::asked::{Asked, Checks, known};
use crate::chat::{AddMessage, ChatError, ListingPlace, ListingQuery, MessageOrder, PageQuery};
use crate::http::body::Checked;
use crate::http::problem::{Fault, Problem};
use crate::http::wire::{self, Documented, Order, PageSize, Sent};
use crate::words::{ConversationId, Message, MessageId};

/// How many entries a page has if the caller does not say.
const DEFAULT_LIMIT: usize = 20;

#[derive(ApiResponse)]
enum Owned {
    /// A page of conversations.
    #[oai(status = 200)]
    Page(Documented<wire::ConversationPage, wire::ConversationPage>),
}

#[derive(ApiResponse)]
enum Found {
    /// The conversation.
    #[oai(status = 200)]
    Conversation(Documented<wire::Conversation, wire::Conversation>),
}

/// A page as it travels.
#[derive(Serialize)]
struct Page {
    data: Vec<Message>,
    has_more: bool,
}

#[derive(ApiResponse)]
enum Listed {
    /// A page of messages.
    #[oai(status = 200)]
    Page(Documented<wire::MessagePage, Page>),
}

#[derive(ApiResponse)]
enum Added {
    /// The message as it was kept.
    #[oai(status = 201)]
    Message(Documented<wire::Message, Message>),
}

#[derive(ApiResponse)]
enum Forgotten {
    /// The conversation is gone for good, or there was none.
    #[oai(status = 204)]
    Gone,
}

pub(super) struct ConversationsApi;

#[OpenApi(tag = "Tag::Conversations")]
impl ConversationsApi {
    /// List your conversations
    ///
    /// The one with the newest message comes first; at least the newest 1,000 are listed. To be listed is no use of a
    /// conversation: it does not live longer by that. Without authentication nobody owns a conversation, and the list is
    /// empty.
    #[oai(path = "/conversations", method = "get", operation_id = "listConversations")]
    async fn list_conversations(
        &self,
        asked: Asked,
        /// At most so many.
        limit: Query<Option<Sent<PageSize>>>,
        /// Only conversations behind this place: `next` of the page before.
        after: Query<Option<Sent<ListingPlace>>>,
    ) -> poem::Result<Owned> {
        let query = part(limit.0, after.0)?;
        let listed = asked.services.chat.conversations(&asked.caller(), &query).await;
        let listed = listed.map_err(Problem::from)?;
        Ok(Owned::Page(Documented::new(listed.into())))
    }

    /// Read a conversation
    ///
    /// What a page needs after a reload: how much was said, and which turn is running.
    #[oai(path = "/conversations/:id", method = "get", operation_id = "getConversation")]
    async fn get_conversation(
        &self,
        asked: Asked,
        /// The conversation.
        id: Path<Sent<ConversationId>>,
    ) -> poem::Result<Found> {
        let id = known(&id.text, ChatError::ConversationNotFound)?;
        let found = asked.services.chat.conversation(&asked.caller(), &id).await;
        let view = found.map_err(Problem::from)?;
        Ok(Found::Conversation(Documented::new(view.into())))
    }

    /// Forget a conversation
    ///
    /// For good; its running turn is cancelled.
    #[oai(path = "/conversations/:id", method = "delete", operation_id = "deleteConversation")]
    async fn delete_conversation(
        &self,
        asked: Asked,
        /// The conversation.
        id: Path<Sent<ConversationId>>,
    ) -> poem::Result<Forgotten> {
        let id = known(&id.text, ChatError::ConversationNotFound)?;
        let forgotten = asked.services.chat.forget(&asked.caller(), &id).await;
        forgotten.map_err(Problem::from)?;
        Ok(Forgotten::Gone)
    }

    /// List a conversation's messages
    #[oai(path = "/conversations/:id/messages", method = "get", operation_id = "listMessages")]
    async fn list_messages(
        &self,
        asked: Asked,
        /// The conversation.
        id: Path<Sent<ConversationId>>,
        /// At most so many.
        limit: Query<Option<Sent<PageSize>>>,
        /// Only messages before this one; not together with `after`.
        before: Query<Option<Sent<MessageId>>>,
        /// Only messages after this one; not together with `before`.
        after: Query<Option<Sent<MessageId>>>,
        /// `asc` (the default): oldest first. `desc`: newest first.
        order: Query<Option<Sent<Order>>>,
    ) -> poem::Result<Listed> {
        let id = known(&id.text, ChatError::ConversationNotFound)?;
        let page = page(limit.0, before.0, after.0, order.0)?;
        let listed = asked.services.chat.messages(&asked.caller(), &id, page).await;
        let listed = listed.map_err(Problem::from)?;
        Ok(Listed::Page(Documented::new(Page { data: listed.data, has_more: listed.has_more })))
    }

    /// Add a message without asking for answers
    ///
    /// Refused while a turn runs. Begins the conversation if there is none.
    #[oai(path = "/conversations/:id/messages", method = "post", operation_id = "addMessage")]
    async fn add_message(
        &self,
        asked: Asked,
        /// The conversation.
        id: Path<Sent<ConversationId>>,
        body: Checked<AddMessage>,
    ) -> poem::Result<Added> {
        let id = known(&id.text, ChatError::ConversationNotFound)?;
        let mut checks = Checks::default();
        let Some(message) = checks.keep(body.0) else {
            return Err(checks.problem().into());
        };
        let added = asked.services.chat.add_message(&asked.caller(), &id, message).await;
        Ok(Added::Message(Documented::new(added.map_err(Problem::from)?)))
    }
}

fn part(limit: Option<Sent<PageSize>>, after: Option<Sent<ListingPlace>>) -> Result<ListingQuery, Problem> {
    let mut checks = Checks::default();
    let limit = page_size(&mut checks, limit);
    let after = checked(&mut checks, "after", after, "must be next of another page");
    if checks.found() { Err(checks.problem()) } else { Ok(ListingQuery { limit, after }) }
}

fn page_size(checks: &mut Checks, sent: Option<Sent<PageSize>>) -> usize {
    let limit = checked(checks, "limit", sent, "must be a number from 1 to 100").unwrap_or(DEFAULT_LIMIT);
    if !(1..=100).contains(&limit) {
        checks.fault(Fault::parameter("limit", "must be a number from 1 to 100"));
    }
    limit
}

fn page(
    limit: Option<Sent<PageSize>>,
    before: Option<Sent<MessageId>>,
    after: Option<Sent<MessageId>>,
    order: Option<Sent<Order>>,
) -> Result<PageQuery, Problem> {
    let mut checks = Checks::default();
    let limit = page_size(&mut checks, limit);
    let before = checked::<_, MessageId>(&mut checks, "before", before, "must be the id of a message");
    let after = checked::<_, MessageId>(&mut checks, "after", after, "must be the id of a message");
    let order = checked::<_, Order>(&mut checks, "order", order, "must be asc or desc");

    if before.is_some() && after.is_some() {
        checks.fault(Fault::parameter("after", "must be absent where before is given"));
    }
    if checks.found() {
        return Err(checks.problem());
    }
    let order = match order {
        Some(Order::Descending) => MessageOrder::Descending,
        Some(Order::Ascending) | None => MessageOrder::Ascending,
    };
    Ok(PageQuery { limit, before, after, order })
}

fn checked<D, T: FromStr>(checks: &mut Checks, name: &str, sent: Option<Sent<D>>, rule: &str) -> Option<T> {
    let parsed = sent?.text.parse().map_err(|_| vec![Fault::parameter(name, rule)]);
    checks.keep(parsed)
}
