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

    /// The next event of any of them; waits for ever where there is none. A turn that has ended is forgotten. Cancel-safe.
    pub async fn next(&mut self) -> Told {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Told> {
        let mut at = self.first;
        for _ in 0..self.followed.len() {
            at = if at < self.followed.len() { at } else { 0 };
            let Some(followed) = self.followed.get_mut(at) else { break };
            match followed.events.poll_next_unpin(context) {
                Poll::Ready(Some(event)) => {
                    self.first = at + 1;
                    return Poll::Ready((followed.reference.clone(), followed.turn, event));
                }
                Poll::Ready(None) => drop(self.followed.remove(at)),
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
