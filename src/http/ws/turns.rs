//! The turns one socket follows.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::{BoxStream, Stream, StreamExt as _, unfold};

use super::frames::Reference;
use crate::chat::{ChatError, Reader};
use crate::words::{Event, TurnId};

/// What comes next from a followed turn.
pub(super) type Told = (Reference, TurnId, Result<Arc<Event>, ChatError>);

/// The turns one socket follows; a few, so asking all of them in turn is cheap, and fair.
#[derive(Default)]
pub(super) struct Turns {
    followed: Vec<Followed>,
    /// Who is asked first next time.
    first: usize,
}

struct Followed {
    reference: Reference,
    turn: TurnId,
    events: BoxStream<'static, Result<Arc<Event>, ChatError>>,
}

impl Turns {
    pub fn len(&self) -> usize {
        self.followed.len()
    }

    pub fn is_empty(&self) -> bool {
        self.followed.is_empty()
    }

    pub fn follows(&self, turn: TurnId) -> bool {
        self.followed.iter().any(|followed| followed.turn == turn)
    }

    /// Follows a turn; under an older reference it is no longer told of.
    pub fn follow(&mut self, reference: Reference, reader: Reader) {
        self.follow_events(reference, reader.turn(), events_of(reader));
    }

    fn follow_events(
        &mut self,
        reference: Reference,
        turn: TurnId,
        events: impl Stream<Item = Result<Arc<Event>, ChatError>> + Send + 'static,
    ) {
        self.followed.retain(|followed| followed.turn != turn);
        self.followed.push(Followed { reference, turn, events: events.boxed() });
    }

    /// The next event of any of them, or none if one of them has ended and is forgotten; waits for ever where there is
    /// nothing to wait for. Cancel-safe.
    pub async fn next(&mut self) -> Option<Told> {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Told>> {
        let mut at = self.first;
        for _ in 0..self.followed.len() {
            at = if at < self.followed.len() { at } else { 0 };
            let Some(followed) = self.followed.get_mut(at) else { break };
            match followed.events.poll_next_unpin(context) {
                Poll::Ready(Some(event)) => {
                    self.first = at + 1;
                    return Poll::Ready(Some((followed.reference.clone(), followed.turn, event)));
                }
                Poll::Ready(None) => {
                    drop(self.followed.remove(at));
                    return Poll::Ready(None);
                }
                Poll::Pending => at += 1,
            }
        }
        Poll::Pending
    }
}

/// The events a reader has still to read; an error is its last item.
fn events_of(reader: Reader) -> impl Stream<Item = Result<Arc<Event>, ChatError>> + Send {
    unfold(Some(reader), |reader| async {
        let mut reader = reader?;
        match reader.next().await {
            Ok(event) => event.map(|event| (Ok(event), Some(reader))),
            Err(error) => Some((Err(error), None)),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::stream::{self, pending};
    use tokio::time::timeout;

    use super::*;
    use crate::words::{EventBody, EventId, new_ulid};

    fn turn(nth: u64) -> TurnId {
        TurnId::new(new_ulid(nth), &"team-42".parse().unwrap())
    }

    fn reference(text: &str) -> Reference {
        Reference::try_from(text).unwrap()
    }

    fn events(turn: TurnId, count: u64) -> impl Stream<Item = Result<Arc<Event>, ChatError>> {
        let event =
            move |seq| Event::new(EventId { epoch: 1, seq }, turn, EventBody::TurnCompleted { usage: None });
        stream::iter((1..=count).map(move |seq| Ok(Arc::new(event(seq)))))
    }

    #[tokio::test]
    async fn a_turn_with_much_to_say_does_not_silence_another() {
        let (loud, quiet) = (turn(1), turn(2));
        let mut turns = Turns::default();
        turns.follow_events(reference("loud"), loud, events(loud, 1000));
        turns.follow_events(reference("quiet"), quiet, events(quiet, 2));

        let mut first = Vec::new();
        for _ in 0..4 {
            first.push(turns.next().await.unwrap().1);
        }

        assert_eq!(first, [loud, quiet, loud, quiet]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_has_ended_is_forgotten() {
        let turn = turn(1);
        let mut turns = Turns::default();
        turns.follow_events(reference("c-1"), turn, events(turn, 1));
        assert!(turns.next().await.is_some());

        assert!(turns.next().await.is_none());

        assert!(turns.is_empty());
        assert!(timeout(Duration::from_secs(1), turns.next()).await.is_err());
    }

    #[tokio::test]
    async fn a_turn_followed_again_is_told_of_under_its_newer_reference_only() {
        let turn = turn(1);
        let mut turns = Turns::default();
        turns.follow_events(reference("older"), turn, pending());
        turns.follow_events(reference("newer"), turn, events(turn, 1));

        assert_eq!(turns.len(), 1);
        assert_eq!(turns.next().await.unwrap().0, reference("newer"));
    }
}
