//! Redis fails in every way: everything that was accepted is found exactly once afterwards, and the service says how it
//! is meanwhile.
//!
//! Each test runs on threads of its own: the model, and the network that fails, are in its process, and must not stand
//! still while accounts are checked.

mod answers;
mod away;
mod failover;
mod forgetting;
mod measured;
mod network;
mod paused;
mod reader;
mod stage;
mod watch;

use std::time::Duration;

use reader::Reader;
use stage::Stage;
use watch::Watch;

/// As long as `turns.lease` is here, and somewhat longer.
const LONGER_THAN_THE_LEASE: Duration = Duration::from_millis(2_500);
