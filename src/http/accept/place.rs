//! One connection's place in the house.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

use crate::telemetry::metrics::{ConnectionEnd, Metrics};

/// Counts a connection for as long as its socket lives. It is shared by the task that serves HTTP on the socket and by
/// the socket itself, because an upgraded socket outlives that task.
#[derive(Debug)]
pub(super) struct Place {
    end: Mutex<ConnectionEnd>,
    counted: Option<Arc<Metrics>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Place {
    pub(super) fn taken(permit: Option<OwnedSemaphorePermit>, metrics: Option<&Arc<Metrics>>) -> Arc<Self> {
        if let Some(metrics) = metrics {
            metrics.connections.accepted.inc(&());
            metrics.connections.open.add(&(), 1);
        }
        Arc::new(Self { end: Mutex::new(ConnectionEnd::Done), counted: metrics.cloned(), _permit: permit })
    }

    /// Says why it will have ended.
    pub(super) fn ended(&self, end: ConnectionEnd) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = end;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let end = *self.end.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(metrics) = &self.counted {
            metrics.connections.open.add(&(), -1);
            metrics.connections.closed.inc(&(end,));
        }
    }
}
