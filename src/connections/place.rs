//! One held place.

use std::sync::Arc;

use tokio_util::task::task_tracker::TaskTrackerToken;

use super::orders::Line;
use super::{Connection, Connections};
use crate::words::{ClientAddress, ConnectionId, Principal};

/// A caller's right to one socket: held from the decision on, given back when dropped, wherever that happens.
pub struct Place {
    connections: Arc<Connections>,
    id: ConnectionId,
    principal: Principal,
    line: Arc<Line>,
    _counted: TaskTrackerToken,
}

impl Place {
    pub(super) fn new(
        connections: Arc<Connections>,
        id: ConnectionId,
        principal: Principal,
        line: Arc<Line>,
    ) -> Self {
        let counted = connections.places.token();
        Self { connections, id, principal, line, _counted: counted }
    }

    /// The id the socket has, or will have.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Whose place it is.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Notes from where the client comes, for an operator who asks.
    pub fn comes_from(&self, address: ClientAddress) {
        self.connections.set_client(self.id, address);
    }

    /// The upgrade is done: the place is now an open socket's.
    pub fn open(self) -> Connection {
        Connection::new(self)
    }

    /// Lets go of the place without giving its lease back: another replica may take it over.
    pub(super) fn leave(self) {
        self.connections.forget(self.id);
    }

    pub(super) fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    pub(super) fn line(&self) -> &Line {
        &self.line
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.free(self.id);
    }
}
