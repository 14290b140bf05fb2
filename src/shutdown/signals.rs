//! What the operating system says.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Shutdown;

impl Shutdown {
    /// A stop that SIGTERM and SIGINT ask for; a second one abandons it. Fails if the signals cannot be listened to.
    pub fn on_signals() -> io::Result<Self> {
        let shutdown = Self::new();
        let signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        listen(shutdown.clone(), signals);
        Ok(shutdown)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "it listens for the second signal until the very end, so the stop must not wait for it"
)]
fn listen(shutdown: Shutdown, (mut terminate, mut interrupt): (Signal, Signal)) {
    drop(tokio::spawn(async move {
        while !shutdown.abandoned().is_cancelled() {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            shutdown.ask();
        }
    }));
}
