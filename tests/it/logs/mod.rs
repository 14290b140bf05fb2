//! What the log says, and what it never says.

mod canaries;
mod echo;
mod levels;
mod redaction;
mod table;
