//! Panics as log lines.

use std::panic::{PanicHookInfo, set_hook};

/// From here on a panic is one log line that says where; what it says is shown only where it is a text of the program,
/// because one that was put together may hold what a user wrote. For the program; tests want to see what a panic says.
pub fn log_panics() {
    set_hook(Box::new(log));
}

fn log(info: &PanicHookInfo<'_>) {
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
    let said = info.payload().downcast_ref::<&'static str>();
    tracing::error!(event = "panic", location, thread, said, "a bug: the code panicked");
}
