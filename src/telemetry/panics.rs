//! Panics as log lines.

use std::panic::{PanicHookInfo, set_hook};

/// From here on a panic is one log line that says where; what it says is shown at debug only, because it may
/// hold what a user wrote. For the program; tests want to see what a panic says.
pub fn log_panics() {
    set_hook(Box::new(log));
}

fn log(info: &PanicHookInfo<'_>) {
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
    tracing::error!(event = "panic", location, thread, "a bug: the code panicked");
    tracing::debug!(event = "panic", said = info.payload_as_str().unwrap_or_default(), "what the panic said");
}
