//! What goes to standard output when that is the result. A reader that closed it wanted no more.

use std::io::{self, ErrorKind, Write as _};

use super::Task;
use crate::config::Effective;
use crate::exit::Failure;

/// Prints `text` and a line's end, if it has none.
pub(super) fn text(text: &str) -> Result<Task, Failure> {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let mut out = io::stdout().lock();
    let printed = write!(out, "{text}{end}").and_then(|()| out.flush());
    match printed {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Unavailable(format!("standard output: {error}")))
        }
        Ok(()) | Err(_) => Ok(Task::Done),
    }
}

/// Prints `value`, indented.
pub(super) fn json(value: &serde_json::Value) -> Result<Task, Failure> {
    text(&format!("{value:#}"))
}

/// Says that a configuration is right, and what is odd about it.
pub(super) fn checked(effective: &Effective) -> Result<Task, Failure> {
    let warnings: String = effective.warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
    text(&format!("{warnings}the configuration is right"))
}
