//! What this replica has of one conversation.

use std::collections::BTreeSet;

use super::shared::Portion;
use crate::memory::conversation::{CONVERSATION_BYTES, Conversation, turn_of};
use crate::memory::{History, Written};
use crate::words::{Message, MessageId, Role, Timestamp};

/// The messages of one conversation that this replica has, and which of them are not known to be shared.
#[derive(Debug, Default)]
pub(super) struct Page {
    conversation: Conversation,
    unconfirmed: BTreeSet<MessageId>,
}

impl Page {
    pub(super) fn history(&self) -> &History {
        &self.conversation.history
    }

    pub(super) fn unconfirmed(&self) -> &BTreeSet<MessageId> {
        &self.unconfirmed
    }

    pub(super) fn bytes(&self) -> usize {
        CONVERSATION_BYTES + self.conversation.bytes
    }

    /// Takes in what was said here; nobody else knows it yet.
    pub(super) fn write(&mut self, portion: &Portion, mark: Option<MessageId>, most: usize) -> Written {
        let messages = &portion.messages;
        if portion.whole && self.conversation.has_reply_of(messages) {
            return Written::Known;
        }
        let sayable: Vec<&Message> = messages.iter().filter(|message| Some(message.id) > mark).collect();
        if sayable.is_empty() {
            return if messages.is_empty() { Written::Known } else { Written::Cleared };
        }
        let new = self.conversation.add(sayable, most, portion.updated_at);
        self.unconfirmed.extend(&new);
        self.keep_to_what_is_there();
        if new.is_empty() { Written::Known } else { Written::Written(new.len()) }
    }

    /// These are shared now.
    pub(super) fn confirm(&mut self, messages: &[Message]) {
        for message in messages {
            self.unconfirmed.remove(&message.id);
        }
    }

    /// Drops everything up to this message; says whether there was anything.
    pub(super) fn forget(&mut self, up_to: MessageId) -> bool {
        let forgotten = self.conversation.forget(up_to);
        self.keep_to_what_is_there();
        forgotten
    }

    /// Drops what is not shared of a turn; how many messages that was.
    pub(super) fn give_up(&mut self, turn: u128) -> usize {
        let lost: BTreeSet<MessageId> =
            self.unconfirmed.iter().copied().filter(|id| turn_of(*id) == turn).collect();
        self.conversation.history.messages.retain(|message| !lost.contains(&message.id));
        self.conversation.history.cut |= !lost.is_empty();
        self.conversation.weigh();
        self.keep_to_what_is_there();
        lost.len()
    }

    /// Takes in what replicas share, above the mark. What is here and should be there is unconfirmed from now on, unless
    /// it is another version of an answered turn: the one that is shared counts. Answers which turns those were.
    pub(super) fn learn(
        &mut self,
        shared: Option<History>,
        mark: Option<MessageId>,
        most: usize,
    ) -> BTreeSet<u128> {
        let is_shared = shared.is_some();
        let mut shared = shared.unwrap_or_default();
        shared.messages.retain(|message| Some(message.id) > mark);

        let differ = self.drop_other_versions(&shared.messages);
        let history = &mut self.conversation.history;
        let only_here = history.messages.extract_if(.., |own| place_in(&shared.messages, own.id).is_none());
        let only_here: Vec<Message> = only_here.collect();
        self.unconfirmed = only_here.iter().map(|message| message.id).collect();

        history.messages = shared.messages;
        history.messages.extend(only_here);
        history.messages.sort_by_key(|message| message.id);
        history.created_at = earliest(history.created_at, shared.created_at);
        history.updated_at = history.updated_at.max(shared.updated_at);
        if is_shared {
            history.cut = shared.cut;
        }
        self.conversation.cut(most);
        self.conversation.weigh();
        self.keep_to_what_is_there();
        differ
    }

    fn drop_other_versions(&mut self, shared: &[Message]) -> BTreeSet<u128> {
        let replies = shared.iter().filter(|message| message.role == Role::Assistant);
        let answered: BTreeSet<u128> = replies.map(|reply| turn_of(reply.id)).collect();
        let Some(oldest) = shared.first().map(|message| message.id) else { return BTreeSet::new() };
        let mut differ = BTreeSet::new();
        self.conversation.history.messages.retain(|own| {
            // What is older than the oldest was cut.
            let in_question =
                own.role == Role::Assistant && own.id >= oldest && answered.contains(&turn_of(own.id));
            let same = place_in(shared, own.id).is_some_and(|place| says_the_same(own, &shared[place]));
            if in_question && !same {
                differ.insert(turn_of(own.id));
            }
            same || !in_question
        });
        differ
    }

    /// What of this conversation is still to be shared, turn by turn.
    pub(super) fn unshared(&self) -> Vec<Portion> {
        let history = self.history();
        let turns: BTreeSet<u128> = self.unconfirmed.iter().map(|id| turn_of(*id)).collect();
        turns.into_iter().map(|turn| self.portion(turn, history)).collect()
    }

    fn portion(&self, turn: u128, history: &History) -> Portion {
        let of_turn = || history.messages.iter().filter(move |message| turn_of(message.id) == turn);
        let is_new = |message: &&Message| self.unconfirmed.contains(&message.id);
        let whole = of_turn().filter(is_new).any(|message| message.role == Role::Assistant);
        let messages = of_turn().filter(|message| whole || is_new(message)).cloned().collect();
        let now = Timestamp::now();
        Portion {
            messages,
            whole,
            created_at: history.created_at.unwrap_or(now),
            updated_at: history.updated_at.unwrap_or(now),
            cut: history.cut,
        }
    }

    fn keep_to_what_is_there(&mut self) {
        let messages = &self.conversation.history.messages;
        self.unconfirmed.retain(|id| place_in(messages, *id).is_some());
    }
}

/// Whether two versions of a reply are one: when each was written down does not matter.
pub(super) fn says_the_same(one: &Message, other: &Message) -> bool {
    one.content == other.content && one.persona == other.persona && one.cancelled == other.cancelled
}

pub(super) fn place_in(messages: &[Message], id: MessageId) -> Option<usize> {
    messages.binary_search_by_key(&id, |message| message.id).ok()
}

fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}
