//! The HTTP API: its documents, its examples, its bodies and its streams.

mod bodies;
mod documents;
mod echoes;
mod examples;
mod origins;
mod streams;
